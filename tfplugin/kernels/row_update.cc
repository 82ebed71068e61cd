// TfpluginUpdateRows: one pass that sums duplicate rows, reads rate, state and
// row, applies a rule and writes them.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "row_groups.h"
#include "row_rules.h"
#include "table_access.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfplugin {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::InferenceContext;

static_assert(sizeof(long) == sizeof(int64_t), "row_rules.h says long");

REGISTER_OP("TfpluginUpdateRows")
    .Input("table: resource")
    .Input("slots: num_slots * resource")
    .Input("bookkeeping: num_bookkeeping * resource")
    .Input("rows: Trows")
    .Input("gradient: float")
    .Input("learning_rate: float")
    .Input("factors: float")
    .Attr("Trows: {int32, int64}")
    .Attr("num_slots: int >= 0")
    .Attr("num_bookkeeping: int >= 0")
    .Attr("bookkeeping_roles: list(string)")
    .Attr("table_name: string")
    .Attr("rule: string")
    .Attr("constants: list(float)")
    .Attr("law: string = ''")
    .Attr("law_constants: list(float) = []")
    .Attr("special_rate: float = 1.0")
    .Attr("floor: float = 0.0")
    .Attr("cap: float = inf")
    .Attr("warm_up_steps: int = 0")
    .Attr("start_step: int = 0")
    .Attr("online_unit: string = ''")
    .Attr("half_life: float = 0.0")
    .Attr("weight_decay: float = 0.0")
    .Attr("compound_weight_decay: bool = false")
    .Attr("clip_value: float = 0.0")
    .Attr("clip_row_norm: float = 0.0")
    .Attr("adaptive_decay: float = 0.0")
    .Attr("adaptive_decay_kept: float = 0.0")
    .Attr("cow_clip_ratio: float = 0.0")
    .Attr("cow_clip_bound: float = 0.0")
    .Attr("frequency_decay: float = 0.0")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) { return absl::OkStatus(); })
    .Doc(R"doc(
Updates the rows of a table that a batch touched; see tfplugin.optimizers.

table: float32 variable (num_rows, dim).
slots: float32 variables, (num_rows, dim) or (num_rows, 1), in the rule's order.
bookkeeping: variables, in the order of bookkeeping_roles.
rows: (n,), in any order, with or without duplicates.
gradient: (n, dim); the sums over equal rows are what the rule sees.
learning_rate: scalar.
factors: a factor on the rate for each of rows, or empty: the law's.
)doc");

const std::map<std::string, Rule>& Rules() {
  static const auto* rules = new std::map<std::string, Rule>{
      {"sgd", Rule::kSgd},
      {"adagrad", Rule::kAdagrad},
      {"rowwise_adagrad", Rule::kRowwiseAdagrad},
      {"lazy_adam", Rule::kLazyAdam},
      {"partial_rowwise_adam", Rule::kPartialRowwiseAdam},
      {"ftrl", Rule::kFtrl},
  };
  return *rules;
}

const std::map<std::string, Law>& Laws() {
  static const auto* laws = new std::map<std::string, Law>{
      {"", Law::kNone},
      {"constant", Law::kConstant},
      {"log", Law::kLog},
      {"power", Law::kPower},
      {"saturating", Law::kSaturating},
      {"inverse", Law::kInverse},
      {"tail_decrease", Law::kTailDecrease},
  };
  return *laws;
}

enum class Instructions { kBaseline, kAvx2, kAvx512 };

// TFPLUGIN_KERNELS may name less than the machine has, for tests.
Instructions ChooseInstructions() {
  Instructions best = Instructions::kBaseline;
#if defined(TFPLUGIN_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    best = Instructions::kAvx2;
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw")) {
      best = Instructions::kAvx512;
    }
  }
#endif
  const char* wanted = std::getenv("TFPLUGIN_KERNELS");
  if (wanted == nullptr) return best;
  if (std::strcmp(wanted, "baseline") == 0) return Instructions::kBaseline;
  if (std::strcmp(wanted, "avx2") == 0 && best == Instructions::kAvx512) {
    return Instructions::kAvx2;
  }
  return best;
}

Instructions ChosenInstructions() {
  static const Instructions chosen = ChooseInstructions();
  return chosen;
}

UpdateFunction UpdateFor(Rule rule, int64_t dim) {
#if defined(TFPLUGIN_X86)
  switch (ChosenInstructions()) {
    case Instructions::kAvx512:
      return UpdateAvx512(rule, dim);
    case Instructions::kAvx2:
      return UpdateAvx2(rule, dim);
    case Instructions::kBaseline:
      break;
  }
#endif
  return UpdateBaseline(rule, dim);
}

template <typename T>
absl::Status LookUp(const std::map<std::string, T>& known,
                    const std::string& kind, const std::string& name, T* out) {
  const auto found = known.find(name);
  if (found == known.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("No kernel for the ", kind, " ", name, "."));
  }
  *out = found->second;
  return absl::OkStatus();
}

absl::Status CopyConstants(const std::vector<float>& from, float* to) {
  if (from.size() > kMaxConstants) {
    return absl::InvalidArgumentError(absl::StrCat(
        "At most ", kMaxConstants, " constants. Received: ", from.size()));
  }
  std::copy(from.begin(), from.end(), to);
  return absl::OkStatus();
}

absl::Status CheckGradient(const Tensor& rows, const Tensor& gradient,
                           int64_t dim) {
  if (rows.dims() != 1 || gradient.dims() != 2 ||
      gradient.dim_size(0) != rows.dim_size(0) ||
      gradient.dim_size(1) != dim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "The gradient must have a row for each of the table's rows. Received: "
        "rows ",
        rows.shape().DebugString(), ", gradient ",
        gradient.shape().DebugString(), ", dim ", dim));
  }
  if (rows.dim_size(0) >= std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError("A batch may touch 2^31 - 2 rows.");
  }
  return absl::OkStatus();
}

template <typename Trows>
class UpdateRowsOp : public OpKernel {
 public:
  explicit UpdateRowsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::string rule, law;
    std::vector<float> constants, law_constants;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_slots", &num_slots_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("bookkeeping_roles", &roles_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("table_name", &table_name_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rule", &rule));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("constants", &constants));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("law", &law));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("law_constants", &law_constants));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("special_rate", &settings_.special_rate));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("floor", &settings_.floor));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("cap", &settings_.cap));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("warm_up_steps", &warm_up_steps_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("start_step", &start_step_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("online_unit", &online_unit_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("half_life", &half_life_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("weight_decay", &settings_.weight_decay));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("compound_weight_decay",
                                     &settings_.compound_weight_decay));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("clip_value", &settings_.clip_value));
    OP_REQUIRES_OK(ctx,
                   ctx->GetAttr("clip_row_norm", &settings_.clip_row_norm));
    OP_REQUIRES_OK(ctx,
                   ctx->GetAttr("adaptive_decay", &settings_.adaptive_decay));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("adaptive_decay_kept",
                                     &settings_.adaptive_decay_kept));
    OP_REQUIRES_OK(ctx,
                   ctx->GetAttr("cow_clip_ratio", &settings_.cow_clip_ratio));
    OP_REQUIRES_OK(ctx,
                   ctx->GetAttr("cow_clip_bound", &settings_.cow_clip_bound));
    OP_REQUIRES_OK(ctx,
                   ctx->GetAttr("frequency_decay", &settings_.frequency_decay));
    OP_REQUIRES_OK(ctx, LookUp(Rules(), "rule", rule, &settings_.rule));
    OP_REQUIRES_OK(ctx, LookUp(Laws(), "law", law, &settings_.law));
    OP_REQUIRES_OK(ctx, CopyConstants(constants, settings_.constants));
    OP_REQUIRES_OK(ctx, CopyConstants(law_constants, settings_.law_constants));
    if (settings_.rule == Rule::kSgd && num_slots_ > 0) {
      settings_.rule = Rule::kMomentum;
    }
    OP_REQUIRES_OK(ctx, CheckConstants(constants.size(), law_constants.size()));
    if (settings_.rule == Rule::kLazyAdam ||
        settings_.rule == Rule::kPartialRowwiseAdam) {
      uses_beta_ = true;
      settings_.row_bias_correction = settings_.constants[3] != 0.0f;
      settings_.replay_skipped_steps = settings_.constants[4] != 0.0f;
    }
    int num_bookkeeping;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_bookkeeping", &num_bookkeeping));
    OP_REQUIRES_OK(ctx, CheckRoles(num_bookkeeping));
  }

  void Compute(OpKernelContext* ctx) override {
    const int num_inputs = ctx->num_inputs();
    const Tensor& rows = ctx->input(num_inputs - 4);
    const Tensor& gradient = ctx->input(num_inputs - 3);
    const Tensor& factors = ctx->input(num_inputs - 1);
    LockedVariables variables;
    for (int i = 0; i < num_inputs - 4; ++i) {
      OP_REQUIRES_OK(ctx, variables.Add(ctx, i));
    }
    OP_REQUIRES_OK(ctx, variables.LockForUpdate(ctx));
    OP_REQUIRES_OK(ctx, CheckVariables(&variables));
    Tensor* table = variables.tensor(0);
    const int64_t num_rows = table->dim_size(0), dim = table->dim_size(1);
    OP_REQUIRES_OK(ctx, CheckGradient(rows, gradient, dim));
    OP_REQUIRES(ctx, ctx->input(num_inputs - 2).NumElements() == 1,
                absl::InvalidArgumentError("The rate must be a scalar."));
    for (int i = 0; i < num_inputs - 4; ++i) {
      AdviseHugePagesOnce(*variables.tensor(i));
    }

    RowGroups groups;
    const auto row_of = rows.flat<Trows>();
    const int64_t bad = groups.Build(row_of.data(), row_of.size(), num_rows);
    OP_REQUIRES(ctx, bad < 0,
                RowOutOfRange(table_name_, row_of(bad), num_rows));

    RowUpdate update = settings_;
    update.table = table->flat<float>().data();
    update.dim = dim;
    update.rows = reinterpret_cast<const long*>(groups.rows());
    update.offsets = groups.offsets();
    update.order = groups.order();
    update.gradient = gradient.flat<float>().data();
    update.learning_rate = ctx->input(num_inputs - 2).flat<float>()(0);
    if (factors.NumElements() > 0) {
      OP_REQUIRES(ctx, factors.NumElements() == row_of.size(),
                  absl::InvalidArgumentError("One factor a row, or none."));
      update.factors = factors.flat<float>().data();
    }
    for (int s = 0; s < num_slots_; ++s) {
      update.slots[s] = variables.tensor(1 + s)->flat<float>().data();
    }
    KeepBooks(&variables, groups, &update);
    Run(ctx, groups.size(), update);
  }

 private:
  // How many slots of the table's shape the rule has; one number a row follow.
  int NumWideSlots() const {
    switch (settings_.rule) {
      case Rule::kSgd:
      case Rule::kRowwiseAdagrad:
        return 0;
      case Rule::kLazyAdam:
      case Rule::kFtrl:
        return 2;
      default:
        return 1;
    }
  }

  int NumNarrowSlots() const {
    return settings_.rule == Rule::kRowwiseAdagrad ||
           settings_.rule == Rule::kPartialRowwiseAdam ||
           settings_.row_bias_correction;
  }

  absl::Status CheckConstants(size_t constants, size_t law_constants) const {
    size_t wanted = 1;
    if (settings_.rule == Rule::kFtrl) wanted = 5;
    if (settings_.rule == Rule::kLazyAdam ||
        settings_.rule == Rule::kPartialRowwiseAdam) {
      wanted = 9;
    }
    size_t law_wanted = 1;
    if (settings_.law == Law::kNone || settings_.law == Law::kLog) {
      law_wanted = 0;
    }
    if (settings_.law == Law::kTailDecrease) law_wanted = 5;
    if (constants >= wanted && law_constants >= law_wanted) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "Rule and law need ", wanted, " and ", law_wanted,
        " constants. Received: ", constants, " and ", law_constants));
  }

  bool Has(const char* role) const {
    return std::find(roles_.begin(), roles_.end(), role) != roles_.end();
  }

  absl::Status CheckRoles(int num_bookkeeping) const {
    const bool counts = settings_.law > Law::kConstant ||
                        !online_unit_.empty() ||
                        settings_.frequency_decay > 0.0f;
    const bool skips = settings_.compound_weight_decay ||
                       settings_.adaptive_decay > 0.0f ||
                       settings_.replay_skipped_steps;
    const bool steps =
        skips || (uses_beta_ && !settings_.row_bias_correction);
    const bool clock = half_life_ > 0.0f || warm_up_steps_ > 0 || start_step_ > 0;
    const std::pair<bool, const char*> needs[] = {
        {counts, "row_counts"},       {counts, "maximum_count"},
        {counts, "num_special_rows"}, {steps || Has("last_step"), "step"},
        {skips, "last_step"},         {clock, "clock"},
        {half_life_ > 0.0f, "last_counted"}};
    for (const auto& [needed, role] : needs) {
      if (needed && !Has(role)) {
        return absl::InvalidArgumentError(
            absl::StrCat("These settings need the variable ", role, "."));
      }
    }
    if (num_bookkeeping != static_cast<int>(roles_.size()) ||
        num_slots_ != NumWideSlots() + NumNarrowSlots()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "A role for each variable, and the rule's slots. Received: ",
          roles_.size(), " roles of ", num_bookkeeping, ", ", num_slots_,
          " slots"));
    }
    return absl::OkStatus();
  }

  // What is read and written is as large and of the dtype that is assumed.
  absl::Status CheckVariables(LockedVariables* variables) const {
    using tensorflow::DT_DOUBLE;
    using tensorflow::DT_FLOAT;
    using tensorflow::DT_INT64;
    const Tensor& table = *variables->tensor(0);
    bool fits = table.dtype() == DT_FLOAT && table.dims() == 2;
    const int64_t num_rows = fits ? table.dim_size(0) : 0;
    for (int s = 0; fits && s < num_slots_; ++s) {
      const Tensor& slot = *variables->tensor(1 + s);
      const int64_t width = s < NumWideSlots() ? table.dim_size(1) : 1;
      fits = slot.dtype() == DT_FLOAT && slot.dims() == 2 &&
             slot.dim_size(0) == num_rows && slot.dim_size(1) == width;
    }
    for (size_t i = 0; fits && i < roles_.size(); ++i) {
      const Tensor& kept = *variables->tensor(1 + num_slots_ + i);
      const std::string& role = roles_[i];
      if (role == "maximum_count") {
        fits = kept.NumElements() == 1 &&
               (kept.dtype() == DT_FLOAT || kept.dtype() == DT_DOUBLE);
      } else if (role == "last_step" || role == "row_counts" ||
                 role == "last_counted") {
        fits = kept.NumElements() == num_rows && kept.dtype() == DT_FLOAT;
      } else {
        fits = kept.NumElements() == 1 && kept.dtype() == DT_INT64;
      }
    }
    if (fits) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "Table ", table_name_, " and its state must be float32 and fit each ",
        "other. Received: table ", table.shape().DebugString()));
  }

  // Counts the step and the rows, and finds what the rates are taken from.
  void KeepBooks(LockedVariables* variables, const RowGroups& groups,
                 RowUpdate* update) {
    float *counts = nullptr, *last_counted = nullptr;
    Tensor* maximum = nullptr;
    int64_t clock = 0;
    for (size_t i = 0; i < roles_.size(); ++i) {
      Tensor* tensor = variables->tensor(1 + num_slots_ + i);
      const std::string& role = roles_[i];
      if (role == "step") {
        update->step = ++tensor->flat<int64_t>()(0);
      } else if (role == "clock") {
        clock = ++tensor->flat<int64_t>()(0);
      } else if (role == "num_special_rows") {
        update->num_special_rows = tensor->flat<int64_t>()(0);
      } else if (role == "last_step") {
        update->last_step = tensor->flat<float>().data();
      } else if (role == "row_counts") {
        counts = tensor->flat<float>().data();
      } else if (role == "maximum_count") {
        maximum = tensor;
      } else if (role == "last_counted") {
        last_counted = tensor->flat<float>().data();
      }
    }
    if (!online_unit_.empty()) {
      Count(groups, update->num_special_rows, clock, counts, maximum,
            last_counted);
    }
    update->row_counts = counts;
    update->maximum_count = maximum == nullptr ? 0.0f : Maximum(*maximum);
    update->inverse_log = 1.0 / std::log1p(double{update->maximum_count});
    update->has_started = clock > start_step_ || start_step_ == 0;
    update->share =
        warm_up_steps_ == 0
            ? 1.0f
            : std::min(1.0f, static_cast<float>(clock) / warm_up_steps_);
    if (uses_beta_) {
      update->correction =
          std::sqrt(-std::expm1(update->step * double{update->constants[8]})) /
          -std::expm1(update->step * double{update->constants[7]});
    }
  }

  void Count(const RowGroups& groups, int64_t num_special_rows, int64_t clock,
             float* counts, Tensor* maximum, float* last_counted) const {
    constexpr int64_t kAhead = 16;
    const int64_t* rows = groups.rows();
    const int32_t* offsets = groups.offsets();
    const bool batches = online_unit_ == "batches";
    // A maximum below 0 says that no counts were set.
    double greatest = std::max(0.0, Maximum(*maximum));
    if (half_life_ > 0.0f) greatest *= std::exp2(-1.0 / half_life_);
    for (int64_t k = 0; k < groups.size(); ++k) {
      if (k + kAhead < groups.size()) {
        __builtin_prefetch(counts + rows[k + kAhead], 1);
        if (last_counted) {
          __builtin_prefetch(last_counted + rows[k + kAhead], 1);
        }
      }
      const int64_t row = rows[k];
      float count = counts[row];
      if (last_counted != nullptr) {
        const float now = static_cast<float>(clock);
        count *= std::exp2((last_counted[row] - now) / half_life_);
        last_counted[row] = now;
      }
      count += batches ? 1.0f : static_cast<float>(offsets[k + 1] - offsets[k]);
      counts[row] = count;
      if (row >= num_special_rows) greatest = std::max(greatest, double{count});
    }
    if (maximum->dtype() == tensorflow::DT_DOUBLE) {
      maximum->flat<double>()(0) = greatest;
    } else {
      maximum->flat<float>()(0) = static_cast<float>(greatest);
    }
  }

  // float64 where a half-life is long: a float would lose its factor.
  static double Maximum(const Tensor& maximum) {
    return maximum.dtype() == tensorflow::DT_DOUBLE ? maximum.flat<double>()(0)
                                                    : maximum.flat<float>()(0);
  }

  static void Run(OpKernelContext* ctx, int64_t num_groups,
                  const RowUpdate& update) {
    const UpdateFunction run = UpdateFor(update.rule, update.dim);
    OP_REQUIRES(ctx, run != nullptr,
                absl::InvalidArgumentError("No kernel for this rule."));
    // A cache line of 16 floats costs some 60 cycles to fetch and write.
    const int64_t cycles = 200 + update.dim * 20;
    RunSharded(ctx, num_groups, cycles,
               [run, &update](int64_t begin, int64_t end) {
                 std::vector<float> sum(update.dim);
                 run(update, begin, end, sum.data());
               });
  }

  RowUpdate settings_ = {};
  bool uses_beta_ = false;
  int num_slots_ = 0;
  std::vector<std::string> roles_;
  std::string table_name_;
  std::string online_unit_;
  float half_life_ = 0.0f;
  int64_t warm_up_steps_ = 0;
  int64_t start_step_ = 0;
};

#define REGISTER_FOR(Trows)                                    \
  REGISTER_KERNEL_BUILDER(Name("TfpluginUpdateRows")           \
                              .Device(tensorflow::DEVICE_CPU)  \
                              .TypeConstraint<Trows>("Trows"), \
                          UpdateRowsOp<Trows>)

REGISTER_FOR(int32_t);
REGISTER_FOR(int64_t);
#undef REGISTER_FOR

}  // namespace

// What tfplugin.kernels.loading expects; a new number with every change of an
// operator's inputs or attributes.
extern "C" int tfplugin_interface() { return 2; }

// For tfplugin.kernels.status().
extern "C" const char* tfplugin_instruction_set() {
  switch (ChosenInstructions()) {
    case Instructions::kAvx512:
      return "AVX-512";
    case Instructions::kAvx2:
      return "AVX2";
    default:
      return "baseline";
  }
}

}  // namespace tfplugin
