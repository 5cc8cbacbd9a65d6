// Which training samples slot s of step t holds: a pure function of (seed, step, slot), so that any worker can compute
// any slot at any time. Shuffled orders are a keyed permutation per epoch: each sample exactly once per epoch.
//
//   ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(spec, dataset.train_samples()));
//   sampler.SamplesOf(step, slot, samples);      // micro_batch sample numbers.
//
// BY_BATCH and BY_EXAMPLE deal one global sequence: example k of step t has index g = t * slots * micro_batch + k,
// epoch g / N, position g % N; slot s takes the s-th run of micro_batch examples, or every slots-th from s on.
// CONTIGUOUS: slot s walks its own range of floor(N / slots) samples with its own epochs; the last N % slots samples
// are not used.
//
// Immutable, thread safe, copyable; memory does not depend on N.
#ifndef PARAMD_WORKER_DATA_SAMPLER_H_
#define PARAMD_WORKER_DATA_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

// A pseudorandom permutation of [0, size) that needs no table: a balanced six-round Feistel network with Philox rounds
// on the smallest 2^(2k) >= size, walked along its cycle until it lands below size (fewer than four rounds on average).
// Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
class KeyedPermutation {
 public:
  // 1 <= size <= 2^48. (seed, epoch, lane) select the permutation.
  KeyedPermutation(uint64_t seed, uint32_t epoch, uint32_t lane, uint64_t size);
  // The element at `position` < size.
  uint64_t At(uint64_t position) const;

 private:
  uint64_t Encrypt(uint64_t value) const;

  uint64_t seed_;
  uint32_t epoch_;
  uint32_t lane_;
  uint64_t size_;
  int half_bits_;
};

class Sampler {
 public:
  // For a filled spec and N = `samples` >= 1. kInvalidArgument (DATA_INVALID): CONTIGUOUS with fewer samples than
  // slots.
  static absl::StatusOr<Sampler> Create(const v1::JobSpec& spec, int64_t samples);

  // The micro_batch sample numbers of a slot, in order. `slot` < slots.
  void SamplesOf(uint64_t step, uint32_t slot, std::vector<int64_t>& samples) const;

 private:
  Sampler() = default;
  int64_t SampleAt(uint64_t index, uint32_t lane, uint64_t size) const;

  uint64_t seed_ = 1;
  uint64_t samples_ = 0;
  uint64_t slots_ = 1;
  uint64_t micro_batch_ = 1;
  bool shuffled_ = true;
  v1::SampleDivision division_ = v1::SAMPLE_DIVISION_BY_EXAMPLE;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_SAMPLER_H_
