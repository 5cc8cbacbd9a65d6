// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers as
// a pure function of a key and a counter, so that any of them can be computed anywhere, in any order, with the same
// bits.
//
// Layout used throughout: the key is the job's 64-bit seed (word 0 its low half), the counter is
//   word 0: index    within (stream, a, b)
//   word 1: b        e.g. the slot, or the high half of a 64-bit index
//   word 2: a        e.g. the step, the epoch or the parameter
//   word 3: stream   what the numbers are for (RandomStream), so that no two purposes share numbers
//
//   Philox random(seed, RandomStream::kShuffle, /*a=*/epoch, /*b=*/0);
//   uint64_t position = random.Below(samples);
//   std::array<uint32_t, 4> bits = PhiloxBlock(seed, {.stream = ..., .a = step, .b = slot, .index = element / 4});
//
// Everything here uses IEEE additions, multiplications, divisions and square roots alone, never libm, so that results
// do not depend on the machine. Functions are pure; Philox objects are not thread safe. Not for cryptography.
#ifndef PARAMD_COMMON_BASE_PHILOX_H_
#define PARAMD_COMMON_BASE_PHILOX_H_

#include <array>
#include <cstdint>

namespace paramd {

// Never renumber: the numbers are part of what a seed means.
enum class RandomStream : uint32_t {
  kTest = 0,
  kInitialWeights = 1,
  kDropout = 2,
  kShuffle = 3,
  kTextSampling = 4,
  kBackoff = 5,
};

struct PhiloxCounter {
  RandomStream stream = RandomStream::kTest;
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t index = 0;
};

// The ten-round bijection on raw words.
inline std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Four random words.
inline std::array<uint32_t, 4> PhiloxBlock(uint64_t seed, const PhiloxCounter& counter) {
  return Philox4x32({counter.index, counter.b, counter.a, static_cast<uint32_t>(counter.stream)},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// Uniform in [0, 1), a multiple of 2^-24: all values are exact floats.
inline float UniformFloat(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// Two independent standard normals from two words (Box-Muller), |value| < 6.7.
std::array<float, 2> NormalPair(uint32_t bits0, uint32_t bits1);

// Four independent standard normals from a block; the first two come from its first two words.
std::array<float, 4> NormalBlock(const std::array<uint32_t, 4>& block);

// The numbers of one (seed, stream, a, b) one after the other, from index 0; they repeat after 2^34 words.
class Philox {
 public:
  Philox(uint64_t seed, RandomStream stream, uint32_t a = 0, uint32_t b = 0)
      : seed_(seed), counter_{.stream = stream, .a = a, .b = b, .index = 0} {}

  uint32_t Next32();
  uint64_t Next64();
  // Uniform in [0, 1), 24 bits.
  float Uniform() { return UniformFloat(Next32()); }
  // Standard normal; takes two words.
  float Normal();
  // Uniform in [0, bound) without bias. `bound` 0 gives 0.
  uint64_t Below(uint64_t bound);

 private:
  uint64_t seed_;
  PhiloxCounter counter_;  // Of the next block.
  std::array<uint32_t, 4> block_ = {};
  int used_ = 4;  // Words of block_ handed out.
};

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_PHILOX_H_
