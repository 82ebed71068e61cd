// One update of a table by distinct rows: what the vectorised code needs.
//
// Plain data and no library header: row_rules.inc is compiled once for each
// instruction set, and an inline function of a library that came along would
// be merged with that of the other files, whatever machine runs it.

#ifndef TFPLUGIN_KERNELS_ROW_RULES_H_
#define TFPLUGIN_KERNELS_ROW_RULES_H_

// Instruction sets are chosen by a pragma that only GCC follows; elsewhere the
// baseline serves.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TFPLUGIN_X86 1
#endif

namespace tfplugin {

enum class Rule : int {
  kSgd,
  kMomentum,
  kAdagrad,
  kRowwiseAdagrad,
  kLazyAdam,
  kPartialRowwiseAdam,
  kFtrl,
};

// Laws of tfplugin.optimizers.row_rates.
enum class Law : int {
  kNone,
  kConstant,
  kLog,
  kPower,
  kSaturating,
  kInverse,
  kTailDecrease,
};

constexpr int kMaxSlots = 3;
constexpr int kMaxConstants = 9;

struct RowUpdate {
  Rule rule;
  float constants[kMaxConstants];  // of the rule, see row_rules.inc

  float* table;  // (rows, dim)
  long dim;
  float* slots[kMaxSlots];  // (rows, dim), or (rows, 1)

  // Group k: row rows[k], gradient rows at positions order[offsets[k]] on.
  const long* rows;
  const int* offsets;
  const int* order;
  const float* gradient;  // (positions, dim)

  float learning_rate;
  const float* factors;  // of each position, or null
  Law law;
  float law_constants[kMaxConstants];
  const float* row_counts;  // (rows,)
  float maximum_count;
  float inverse_log;  // 1 / log(maximum_count + 1)
  long num_special_rows;
  float special_rate;
  float floor;
  float cap;
  bool has_started;  // whether the law holds yet
  float share;       // of the law in its warm-up

  float step;        // of this update, from 1
  float correction;  // bias_correction(step)
  float* last_step;  // (rows,), or null
  float weight_decay;
  bool compound_weight_decay;
  bool row_bias_correction;  // slot 2 counts each row's own updates
  bool replay_skipped_steps;
  float clip_value;  // 0: off
  float clip_row_norm;
  float adaptive_decay;  // 0: off
  float adaptive_decay_kept;
  float cow_clip_ratio;  // 0: off
  float cow_clip_bound;
  float frequency_decay;  // 0: off
};

// Updates the groups [begin, end); `sum` has room for dim floats.
using UpdateFunction = void (*)(const RowUpdate& update, long begin, long end,
                                float* sum);

UpdateFunction UpdateBaseline(Rule rule, long dim);
UpdateFunction UpdateAvx2(Rule rule, long dim);
UpdateFunction UpdateAvx512(Rule rule, long dim);

}  // namespace tfplugin

#endif  // TFPLUGIN_KERNELS_ROW_RULES_H_
