// Hashes of ids: those of beam_jobs/row_hash.py, which decide on an id's file,
// and faster ones for places in a hash table.

#ifndef BEAM_JOBS_COUNTING_ID_HASH_H_
#define BEAM_JOBS_COUNTING_ID_HASH_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace counting {

inline uint64_t Load64(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// The last `size` < 8 bytes, as a little-endian number.
inline uint64_t LoadTail(const char* bytes, size_t size) {
  uint64_t word = 0;
  for (size_t i = 0; i < size; ++i) {
    word |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  }
  return word;
}

inline uint64_t Finalize(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// SplitMix64: row_hash.mix.
inline uint64_t Mix(uint64_t value) {
  return Finalize(value + 0x9E3779B97F4A7C15ULL);
}

inline uint64_t RotateLeft(uint64_t x, int bits) {
  return (x << bits) | (x >> (64 - bits));
}

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1, v1 = RotateLeft(v1, 13) ^ v0, v0 = RotateLeft(v0, 32);
      v2 += v3, v3 = RotateLeft(v3, 16) ^ v2;
      v0 += v3, v3 = RotateLeft(v3, 21) ^ v0;
      v2 += v1, v1 = RotateLeft(v1, 17) ^ v2, v2 = RotateLeft(v2, 32);
    }
  }

  void Word(uint64_t word) {
    v3 ^= word;
    Rounds(2);
    v0 ^= word;
  }
};

// SipHash-2-4 (Aumasson and Bernstein, 2012) under the key of
// pandas.util.hash_array, "0123456789123456".
inline uint64_t SipHash(const char* bytes, size_t size) {
  constexpr uint64_t k0 = 0x3736353433323130ULL, k1 = 0x3635343332313938ULL;
  SipState state{k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL,
                 k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL};
  size_t i = 0;
  for (; i + 8 <= size; i += 8) state.Word(Load64(bytes + i));
  state.Word(LoadTail(bytes + i, size - i) | static_cast<uint64_t>(size) << 56);
  state.v2 ^= 0xff;
  state.Rounds(4);
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

// row_hash.hash_columns([ids], seed=0).
inline uint64_t FileHash(int64_t id) {
  return Mix(Mix(static_cast<uint64_t>(id)));
}
inline uint64_t FileHash(const char* bytes, size_t size) {
  return Mix(Finalize(SipHash(bytes, size)));
}

// Not FileHash: the ids of a file share bits of that.
inline uint64_t TableHash(int64_t id) {
  uint64_t h = static_cast<uint64_t>(id) * 0x9E3779B97F4A7C15ULL;
  h ^= h >> 32;
  return h * 0xD6E8FEB86659FD93ULL;
}
inline uint64_t TableHash(const char* bytes, size_t size) {
  uint64_t h = size * 0x9E3779B97F4A7C15ULL;
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    h = (RotateLeft(h, 23) ^ Load64(bytes + i)) * 0xBF58476D1CE4E5B9ULL;
    h ^= h >> 29;
  }
  h = (RotateLeft(h, 23) ^ LoadTail(bytes + i, size - i)) *
      0xBF58476D1CE4E5B9ULL;
  h ^= h >> 32;
  return h * 0xD6E8FEB86659FD93ULL;
}

}  // namespace counting

#endif  // BEAM_JOBS_COUNTING_ID_HASH_H_
