#include "worker/data/sampler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/philox.h"

namespace paramd {
namespace {

constexpr uint32_t kFeistelRounds = 6;

}  // namespace

KeyedPermutation::KeyedPermutation(uint64_t seed, uint32_t epoch, uint32_t lane, uint64_t size)
    : seed_(seed), epoch_(epoch), lane_(lane), size_(size), half_bits_(1) {
  while ((uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
}

uint64_t KeyedPermutation::Encrypt(uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_;
  uint64_t right = value & mask;
  for (uint32_t round = 0; round < kFeistelRounds; ++round) {
    // The half has at most 24 bits, which leaves the index's upper eight for the round.
    const auto index = static_cast<uint32_t>(round << 24 | right);
    const uint64_t mixed =
        PhiloxBlock(seed_, {.stream = RandomStream::kShuffle, .a = epoch_, .b = lane_, .index = index})[0] & mask;
    const uint64_t next = left ^ mixed;
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

uint64_t KeyedPermutation::At(uint64_t position) const {
  // The walk ends: the network is a bijection, so the cycle through `position` comes back below size_.
  do {
    position = Encrypt(position);
  } while (position >= size_);
  return position;
}

absl::StatusOr<Sampler> Sampler::Create(const v1::JobSpec& spec, int64_t samples) {
  Sampler sampler;
  sampler.seed_ = spec.seed() == 0 ? 1 : spec.seed();
  sampler.samples_ = static_cast<uint64_t>(std::max<int64_t>(samples, 0));
  sampler.slots_ = spec.training().slots();
  sampler.micro_batch_ = spec.training().micro_batch();
  sampler.shuffled_ = spec.data().order() != v1::SAMPLE_ORDER_SEQUENTIAL;
  if (spec.data().division() != v1::SAMPLE_DIVISION_UNSPECIFIED) sampler.division_ = spec.data().division();
  if (sampler.samples_ == 0 || sampler.slots_ == 0 || sampler.micro_batch_ == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     absl::StrCat("cannot draw ", sampler.slots_, " slots of ", sampler.micro_batch_, " from ", samples,
                                  " samples"));
  }
  if (sampler.division_ == v1::SAMPLE_DIVISION_CONTIGUOUS && sampler.samples_ < sampler.slots_) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     absl::StrCat("spec.data.division: contiguous needs at least one sample per slot, got ", samples,
                                  " samples for ", sampler.slots_, " slots"));
  }
  return sampler;
}

void Sampler::SamplesOf(uint64_t step, uint32_t slot, std::vector<int64_t>& samples) const {
  samples.resize(micro_batch_);
  if (division_ == v1::SAMPLE_DIVISION_CONTIGUOUS) {
    const uint64_t range = samples_ / slots_;
    for (uint64_t i = 0; i < micro_batch_; ++i) {
      samples[i] = static_cast<int64_t>(slot * range) + SampleAt(step * micro_batch_ + i, slot + 1, range);
    }
    return;
  }
  const bool by_batch = division_ == v1::SAMPLE_DIVISION_BY_BATCH;
  const uint64_t base = step * slots_ * micro_batch_;
  for (uint64_t i = 0; i < micro_batch_; ++i) {
    const uint64_t k = by_batch ? slot * micro_batch_ + i : slot + i * slots_;
    samples[i] = SampleAt(base + k, 0, samples_);
  }
}

int64_t Sampler::SampleAt(uint64_t index, uint32_t lane, uint64_t size) const {
  const uint64_t epoch = index / size;
  const uint64_t position = index % size;
  if (!shuffled_) return static_cast<int64_t>(position);
  return static_cast<int64_t>(KeyedPermutation(seed_, static_cast<uint32_t>(epoch), lane, size).At(position));
}

}  // namespace paramd
