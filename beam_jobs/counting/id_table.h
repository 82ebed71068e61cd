// A hash table from ids to counters: int64 or string ids; uint32 counters for
// rows of a log, int64 or double ones for counts that are added up.

#ifndef BEAM_JOBS_COUNTING_ID_TABLE_H_
#define BEAM_JOBS_COUNTING_ID_TABLE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#include "id_keys.h"

namespace counting {

// Days of an id without a moment: the neutral elements of min and max.
constexpr int32_t kNoFirstDay = std::numeric_limits<int32_t>::max();
constexpr int32_t kNoLastDay = std::numeric_limits<int32_t>::min();

// What rows say of their ids. Null: nothing.
struct Rows {
  const uint64_t* labels;  // Bit i: label i is 1.
  const int32_t* days;     // kNoLastDay: no moment.
};

// What sorting moves: an entry and the most of what decides on its place.
struct Sortable {
  uint64_t first;
  uint64_t second;
  uint32_t entry;
};

class AnyTable {
 public:
  virtual ~AnyTable() = default;
  virtual void AddRows(const Column& column, const Rows& rows) = 0;
  virtual void AddCounts(const Column& column, const void* const* counters,
                         const int32_t* first, const int32_t* last) = 0;
  virtual int64_t size() const = 0;
  virtual int64_t bytes() const = 0;
  virtual void SortByPlace(int64_t num_files, int64_t* borders) = 0;
  virtual void SortByCount() = 0;
  virtual int64_t StringBytes(int64_t begin, int64_t end) const = 0;
  virtual void Read(int64_t begin, int64_t end, int64_t* integers,
                    int32_t* string_offsets, char* string_bytes,
                    void* const* counters, int32_t* first,
                    int32_t* last) const = 0;
};

template <typename Key, typename Counter>
class IdTable : public AnyTable {
 public:
  IdTable(int num_labels, bool has_days)
      : num_counters_(1 + num_labels), has_days_(has_days) {
    counters_at_ = (Key::kBytes + sizeof(Counter) - 1) / sizeof(Counter) *
                   sizeof(Counter);
    days_at_ = counters_at_ + num_counters_ * sizeof(Counter);
    stride_ = days_at_ + (has_days ? 2 * sizeof(int32_t) : 0);
    Rehash(10);
  }

  int64_t size() const override { return size_; }

  int64_t bytes() const override {
    return static_cast<int64_t>(entries_.limit() + arena_.limit() +
                                slots_.limit() +
                                order_.capacity() * sizeof(uint32_t));
  }

  void AddRows(const Column& column, const Rows& rows) override {
    Batch batch;
    for (int64_t row = 0; row < column.rows; ++row) {
      int64_t begin = row, end = row + 1;
      if (column.list_offsets != nullptr) {
        if (!IsValid(column.row_validity, column.row_offset + row)) continue;
        begin = column.list_offsets[row];
        end = column.list_offsets[row + 1];
      }
      for (int64_t i = begin; i < end; ++i) {
        if (!IsValid(column.value_validity, column.value_offset + i)) continue;
        Key key = Key::At(column, i);
        if (key.IsMissing()) continue;
        batch.Push(key, row);
        if (batch.size == kBatch) CountBatch(&batch, rows);
      }
    }
    CountBatch(&batch, rows);
  }

  void AddCounts(const Column& column, const void* const* counters,
                 const int32_t* first, const int32_t* last) override {
    Batch batch;
    for (int64_t row = 0; row < column.rows; ++row) {
      batch.Push(Key::At(column, row), row);
      if (batch.size < kBatch && row + 1 < column.rows) continue;
      Find(&batch);
      for (int i = 0; i < batch.size; ++i) {
        char* entry = Entry(batch.entries[i]);
        int64_t from = batch.rows[i];
        for (int c = 0; c < num_counters_; ++c) {
          Counters(entry)[c] += static_cast<const Counter*>(counters[c])[from];
        }
        if (has_days_) SeeDays(entry, first[from], last[from]);
      }
      batch.size = 0;
    }
  }

  // Entries by file, then by hash, then by id.
  void SortByPlace(int64_t num_files, int64_t* borders) override {
    order_.resize(size_);
    std::fill(borders, borders + num_files + 1, 0);
    for (int64_t i = 0; i < size_; ++i) {
      ++borders[KeyOf(i).Place() % num_files + 1];
    }
    for (int64_t f = 0; f < num_files; ++f) borders[f + 1] += borders[f];
    std::vector<int64_t> next(borders, borders + num_files);
    for (int64_t i = 0; i < size_; ++i) {
      order_[next[KeyOf(i).Place() % num_files]++] = static_cast<uint32_t>(i);
    }
    std::vector<Sortable> part;
    for (int64_t f = 0; f < num_files; ++f) {
      part.clear();
      part.reserve(borders[f + 1] - borders[f]);
      for (int64_t i = borders[f]; i < borders[f + 1]; ++i) {
        part.push_back({KeyOf(order_[i]).Place(), 0, order_[i]});
      }
      SortPart(&part, borders[f]);
    }
  }

  // Entries by falling count, then by rising id.
  void SortByCount() override {
    order_.resize(size_);
    std::vector<Sortable> part;
    part.reserve(size_);
    for (int64_t i = 0; i < size_; ++i) {
      Counter count = Counters(Entry(i))[0];
      uint64_t bits = 0;
      // Bits of doubles that are not negative ascend with them.
      std::memcpy(&bits, &count, sizeof(count));
      if (!std::is_floating_point<Counter>::value) {
        bits = static_cast<uint64_t>(count);
      }
      part.push_back({~bits, KeyOf(i).Prefix(), static_cast<uint32_t>(i)});
    }
    SortPart(&part, 0);
  }

  int64_t StringBytes(int64_t begin, int64_t end) const override {
    int64_t total = 0;
    if constexpr (std::is_same<Key, StringKey>::value) {
      for (int64_t i = begin; i < end; ++i) total += KeyOf(order_[i]).size;
    }
    return total;
  }

  void Read(int64_t begin, int64_t end, int64_t* integers,
            int32_t* string_offsets, char* string_bytes, void* const* counters,
            int32_t* first, int32_t* last) const override {
    int64_t used = 0;
    for (int64_t row = 0; row < end - begin; ++row) {
      const char* entry = Entry(order_[begin + row]);
      Key key = Key::Stored(entry, arena_);
      if constexpr (std::is_same<Key, StringKey>::value) {
        string_offsets[row] = static_cast<int32_t>(used);
        std::memcpy(string_bytes + used, key.bytes, key.size);
        used += key.size;
      } else {
        integers[row] = key.id;
      }
      for (int c = 0; c < num_counters_; ++c) {
        static_cast<Counter*>(counters[c])[row] = Counters(entry)[c];
      }
      if (has_days_) {
        const int32_t* days = Days(entry);
        first[row] = days[0];
        last[row] = days[1];
      }
    }
    if (string_offsets != nullptr) {
      string_offsets[end - begin] = static_cast<int32_t>(used);
    }
  }

 private:
  static constexpr int kBatch = 32;
  static constexpr uint32_t kEmpty = std::numeric_limits<uint32_t>::max();

  struct Slot {
    uint32_t tag;
    uint32_t entry;
  };

  // Ids that are looked up together, so that memory answers side by side.
  struct Batch {
    int size = 0;
    Key keys[kBatch];
    uint32_t tags[kBatch];
    int64_t rows[kBatch];
    int64_t entries[kBatch];

    void Push(const Key& key, int64_t row) {
      keys[size] = key;
      rows[size] = row;
      ++size;
    }
  };

  int64_t num_slots() const { return int64_t{1} << bits_; }
  Slot* slots() const { return reinterpret_cast<Slot*>(slots_.data()); }
  char* Entry(int64_t i) const { return entries_.data() + i * stride_; }
  Key KeyOf(int64_t i) const { return Key::Stored(Entry(i), arena_); }
  Counter* Counters(char* entry) const {
    return reinterpret_cast<Counter*>(entry + counters_at_);
  }
  const Counter* Counters(const char* entry) const {
    return reinterpret_cast<const Counter*>(entry + counters_at_);
  }
  const int32_t* Days(const char* entry) const {
    return reinterpret_cast<const int32_t*>(entry + days_at_);
  }

  void SeeDays(char* entry, int32_t first, int32_t last) {
    int32_t* days = reinterpret_cast<int32_t*>(entry + days_at_);
    days[0] = std::min(days[0], first);
    days[1] = std::max(days[1], last);
  }

  void CountBatch(Batch* batch, const Rows& rows) {
    Find(batch);
    for (int i = 0; i < batch->size; ++i) {
      char* entry = Entry(batch->entries[i]);
      int64_t row = batch->rows[i];
      Counter* counters = Counters(entry);
      counters[0] += 1;
      if (rows.labels != nullptr) {
        for (uint64_t left = rows.labels[row]; left != 0; left &= left - 1) {
          counters[1 + __builtin_ctzll(left)] += 1;
        }
      }
      if (has_days_ && rows.days[row] != kNoLastDay) {
        SeeDays(entry, rows.days[row], rows.days[row]);
      }
    }
    batch->size = 0;
  }

  // Entries of the ids; new ones are made, with zeros.
  void Find(Batch* batch) {
    while ((size_ + batch->size) * 4 > num_slots() * 3) {
      Rehash(bits_ + 1);
    }
    entries_.Reserve((size_ + batch->size) * stride_);
    for (int i = 0; i < batch->size; ++i) {
      batch->tags[i] = static_cast<uint32_t>(batch->keys[i].Hash() >> 32);
      __builtin_prefetch(slots() + (batch->tags[i] >> shift_));
    }
    for (int i = 0; i < batch->size; ++i) {
      const Slot& slot = slots()[batch->tags[i] >> shift_];
      if (slot.entry != kEmpty) __builtin_prefetch(Entry(slot.entry), 1);
    }
    for (int i = 0; i < batch->size; ++i) {
      batch->entries[i] = FindOne(batch->keys[i], batch->tags[i]);
    }
  }

  int64_t FindOne(const Key& key, uint32_t tag) {
    size_t place = tag >> shift_;
    while (true) {
      Slot& slot = slots()[place];
      if (slot.entry == kEmpty) {
        if (size_ >= kEmpty) throw std::bad_alloc();
        slot = {tag, static_cast<uint32_t>(size_)};
        char* entry = Entry(size_);
        std::memset(entry, 0, stride_);
        key.Store(entry, &arena_, &arena_used_);
        if (has_days_) {
          int32_t days[] = {kNoFirstDay, kNoLastDay};
          std::memcpy(entry + days_at_, days, sizeof(days));
        }
        return size_++;
      }
      if (slot.tag == tag && key.IsStoredAt(Entry(slot.entry), arena_)) {
        return slot.entry;
      }
      place = (place + 1) & (num_slots() - 1);
    }
  }

  void Rehash(int bits) {
    if (bits > 32) throw std::bad_alloc();
    int64_t num_old = slots_.data() == nullptr ? 0 : num_slots();
    Buffer old;
    old.Reserve((size_t{1} << bits) * sizeof(Slot));
    old.Swap(&slots_);
    bits_ = bits;
    shift_ = 32 - bits;
    // Every byte of an empty slot.
    std::memset(slots_.data(), 0xff, num_slots() * sizeof(Slot));
    const Slot* moved = reinterpret_cast<const Slot*>(old.data());
    for (int64_t i = 0; i < num_old; ++i) {
      if (moved[i].entry == kEmpty) continue;
      size_t place = moved[i].tag >> shift_;
      while (slots()[place].entry != kEmpty) {
        place = (place + 1) & (num_slots() - 1);
      }
      slots()[place] = moved[i];
    }
  }

  void SortPart(std::vector<Sortable>* part, int64_t begin) {
    std::sort(part->begin(), part->end(),
              [this](const Sortable& a, const Sortable& b) {
                if (a.first != b.first) return a.first < b.first;
                if (a.second != b.second) return a.second < b.second;
                return KeyOf(a.entry).Less(KeyOf(b.entry));
              });
    for (size_t i = 0; i < part->size(); ++i) {
      order_[begin + i] = (*part)[i].entry;
    }
  }

  int num_counters_;
  bool has_days_;
  size_t counters_at_, days_at_, stride_;
  int bits_ = 0, shift_ = 0;
  int64_t size_ = 0;
  Buffer slots_, entries_, arena_;
  size_t arena_used_ = 0;
  std::vector<uint32_t> order_;
};

}  // namespace counting

#endif  // BEAM_JOBS_COUNTING_ID_TABLE_H_
