// Ids of both types: where they come from, and how entries of a table hold them.

#ifndef BEAM_JOBS_COUNTING_ID_KEYS_H_
#define BEAM_JOBS_COUNTING_ID_KEYS_H_

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "id_hash.h"

namespace counting {

constexpr int64_t kMissingInt64 = std::numeric_limits<int64_t>::min();
// Ids as Arrow keeps them; ctypes knows this layout (native_table.py).
struct Column {
  int64_t rows;
  // Bits of rows that are not null, from bit `row_offset`; null: all.
  const uint8_t* row_validity;
  int64_t row_offset;
  // `rows + 1` borders of lists among the values; null: a value a row.
  const int32_t* list_offsets;
  const uint8_t* value_validity;
  int64_t value_offset;
  const int64_t* integers;
  // Borders of strings among the bytes.
  const int32_t* string_offsets;
  const char* bytes;
};

inline bool IsValid(const uint8_t* bits, int64_t i) {
  return bits == nullptr || (bits[i >> 3] >> (i & 7) & 1);
}

// Memory of the system's own, not of malloc's: it grows without a copy beside
// it, and goes back when it is freed, so that what tables say they hold is what
// the process holds.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) munmap(data_, limit_);
  }

  char* data() const { return data_; }
  size_t limit() const { return limit_; }

  void Swap(Buffer* other) {
    std::swap(data_, other->data_);
    std::swap(limit_, other->limit_);
  }

  void Reserve(size_t bytes) {
    if (bytes <= limit_) return;
    size_t wanted = std::max(bytes, limit_ + limit_ / 2);
    wanted = (wanted + kPage - 1) / kPage * kPage;
    void* grown =
        data_ == nullptr
            ? mmap(nullptr, wanted, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            : mremap(data_, limit_, wanted, MREMAP_MAYMOVE);
    if (grown == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<char*>(grown);
    limit_ = wanted;
  }

 private:
  // A multiple of any page.
  static constexpr size_t kPage = 1 << 16;

  char* data_ = nullptr;
  size_t limit_ = 0;
};

struct IntegerKey {
  static constexpr size_t kBytes = 8;
  int64_t id;

  static IntegerKey At(const Column& column, int64_t i) {
    return {column.integers[i]};
  }
  bool IsMissing() const { return id == kMissingInt64; }
  uint64_t Hash() const { return TableHash(id); }
  uint64_t Place() const { return FileHash(id); }
  bool IsStoredAt(const char* entry, const Buffer&) const {
    return std::memcmp(entry, &id, sizeof(id)) == 0;
  }
  void Store(char* entry, Buffer*, size_t*) const {
    std::memcpy(entry, &id, sizeof(id));
  }
  static IntegerKey Stored(const char* entry, const Buffer&) {
    return {static_cast<int64_t>(Load64(entry))};
  }
  // Ascends with the id.
  uint64_t Prefix() const { return static_cast<uint64_t>(id) ^ 1ULL << 63; }
  bool Less(const IntegerKey& other) const { return id < other.id; }
};

struct StringKey {
  // Offset in the bytes, 8; size, 4.
  static constexpr size_t kBytes = 12;
  const char* bytes;
  uint32_t size;

  static StringKey At(const Column& column, int64_t i) {
    int32_t begin = column.string_offsets[i];
    return {column.bytes + begin,
            static_cast<uint32_t>(column.string_offsets[i + 1] - begin)};
  }
  bool IsMissing() const { return size == 0; }
  uint64_t Hash() const { return TableHash(bytes, size); }
  uint64_t Place() const { return FileHash(bytes, size); }
  bool IsStoredAt(const char* entry, const Buffer& arena) const {
    uint32_t stored;
    std::memcpy(&stored, entry + 8, sizeof(stored));
    return stored == size &&
           std::memcmp(arena.data() + Load64(entry), bytes, size) == 0;
  }
  void Store(char* entry, Buffer* arena, size_t* used) const {
    arena->Reserve(*used + size);
    std::memcpy(arena->data() + *used, bytes, size);
    uint64_t offset = *used;
    std::memcpy(entry, &offset, sizeof(offset));
    std::memcpy(entry + 8, &size, sizeof(size));
    *used += size;
  }
  static StringKey Stored(const char* entry, const Buffer& arena) {
    uint32_t size;
    std::memcpy(&size, entry + 8, sizeof(size));
    return {arena.data() + Load64(entry), size};
  }
  uint64_t Prefix() const {
    uint64_t prefix = 0;
    for (uint32_t i = 0; i < 8; ++i) {
      prefix = prefix << 8 | (i < size ? static_cast<uint8_t>(bytes[i]) : 0);
    }
    return prefix;
  }
  bool Less(const StringKey& other) const {
    int order = std::memcmp(bytes, other.bytes, std::min(size, other.size));
    return order != 0 ? order < 0 : size < other.size;
  }
};

}  // namespace counting

#endif  // BEAM_JOBS_COUNTING_ID_KEYS_H_
