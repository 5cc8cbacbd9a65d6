#include "worker/data/sampler.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using testing::ElementsAre;

v1::JobSpec Spec(v1::SampleOrder order, v1::SampleDivision division, uint32_t slots, uint32_t micro_batch,
                 uint64_t seed = 7) {
  v1::JobSpec spec;
  spec.set_seed(seed);
  spec.mutable_data()->set_order(order);
  spec.mutable_data()->set_division(division);
  spec.mutable_training()->set_slots(slots);
  spec.mutable_training()->set_micro_batch(micro_batch);
  return spec;
}

std::vector<int64_t> Draw(const Sampler& sampler, uint64_t step, uint32_t slot) {
  std::vector<int64_t> samples;
  sampler.SamplesOf(step, slot, samples);
  return samples;
}

TEST(KeyedPermutationTest, IsABijectionForEverySize) {
  for (uint64_t size = 1; size <= 300; ++size) {
    std::vector<bool> seen(size, false);
    const KeyedPermutation permutation(size * 77, 3, 1, size);
    for (uint64_t position = 0; position < size; ++position) {
      const uint64_t element = permutation.At(position);
      ASSERT_LT(element, size);
      ASSERT_FALSE(seen[element]) << size << " " << position;
      seen[element] = true;
    }
  }
}

TEST(KeyedPermutationTest, WorksAtTheLargestSize) {
  const uint64_t size = (uint64_t{1} << 48) - 5;
  const KeyedPermutation permutation(1, 0, 0, size);
  EXPECT_LT(permutation.At(size - 1), size);
  EXPECT_NE(permutation.At(0), permutation.At(1));
}

TEST(KeyedPermutationTest, EveryElementComesFirstAboutEquallyOften) {
  constexpr uint64_t kSize = 10;
  constexpr int kDraws = 10000;
  std::vector<int> counts(kSize, 0);
  for (int epoch = 0; epoch < kDraws; ++epoch) ++counts[KeyedPermutation(5, epoch, 0, kSize).At(0)];
  for (int count : counts) EXPECT_NEAR(count, kDraws / kSize, 5 * 30);  // Five deviations of a binomial.
}

// What a seed means must never change: golden values, from an independent implementation.
TEST(KeyedPermutationTest, Golden) {
  std::vector<uint64_t> elements;
  const KeyedPermutation permutation(42, 1, 0, 10);
  for (uint64_t position = 0; position < 10; ++position) elements.push_back(permutation.At(position));
  EXPECT_THAT(elements, ElementsAre(2, 7, 8, 0, 9, 1, 4, 3, 5, 6));
}

// Each sample exactly once per epoch, for every order, division, slot count and batch size.
TEST(SamplerTest, EachSampleOncePerEpoch) {
  for (v1::SampleOrder order : {v1::SAMPLE_ORDER_SHUFFLED, v1::SAMPLE_ORDER_SEQUENTIAL}) {
    for (v1::SampleDivision division : {v1::SAMPLE_DIVISION_BY_EXAMPLE, v1::SAMPLE_DIVISION_BY_BATCH}) {
      for (uint32_t slots : {1, 2, 3, 5, 8}) {
        for (uint32_t micro_batch : {1, 3, 4}) {
          for (int64_t samples : {1, 7, 24, 61}) {
            ASSERT_OK_AND_ASSIGN(const Sampler sampler,
                                 Sampler::Create(Spec(order, division, slots, micro_batch), samples));
            // samples * slots * micro_batch examples in `samples` steps: slots * micro_batch epochs exactly.
            std::map<int64_t, uint64_t> counts;
            for (int64_t step = 0; step < samples; ++step) {
              for (uint32_t slot = 0; slot < slots; ++slot) {
                for (int64_t sample : Draw(sampler, step, slot)) ++counts[sample];
              }
            }
            ASSERT_EQ(static_cast<int64_t>(counts.size()), samples);
            for (const auto& [sample, count] : counts) ASSERT_EQ(count, uint64_t{slots} * micro_batch) << sample;
          }
        }
      }
    }
  }
}

TEST(SamplerTest, ContiguousStaysInItsRangeAndCoversIt) {
  for (v1::SampleOrder order : {v1::SAMPLE_ORDER_SHUFFLED, v1::SAMPLE_ORDER_SEQUENTIAL}) {
    for (uint32_t slots : {1, 3, 4}) {
      constexpr int64_t kSamples = 23;
      const int64_t range = kSamples / slots;
      ASSERT_OK_AND_ASSIGN(const Sampler sampler,
                           Sampler::Create(Spec(order, v1::SAMPLE_DIVISION_CONTIGUOUS, slots, 2), kSamples));
      for (uint32_t slot = 0; slot < slots; ++slot) {
        std::map<int64_t, int> counts;
        for (int64_t step = 0; step < range; ++step) {  // Two epochs.
          for (int64_t sample : Draw(sampler, step, slot)) ++counts[sample];
        }
        ASSERT_EQ(static_cast<int64_t>(counts.size()), range);
        EXPECT_EQ(counts.begin()->first, slot * range);
        EXPECT_EQ(counts.rbegin()->first, (slot + 1) * range - 1);
        for (const auto& [sample, count] : counts) EXPECT_EQ(count, 2);
      }
    }
  }
}

TEST(SamplerTest, SequentialDealsAsDocumented) {
  constexpr auto kOrder = v1::SAMPLE_ORDER_SEQUENTIAL;
  ASSERT_OK_AND_ASSIGN(Sampler by_example, Sampler::Create(Spec(kOrder, v1::SAMPLE_DIVISION_BY_EXAMPLE, 2, 3), 8));
  EXPECT_THAT(Draw(by_example, 0, 0), ElementsAre(0, 2, 4));
  EXPECT_THAT(Draw(by_example, 0, 1), ElementsAre(1, 3, 5));
  EXPECT_THAT(Draw(by_example, 1, 0), ElementsAre(6, 0, 2));  // The second epoch begins at example 8.
  ASSERT_OK_AND_ASSIGN(Sampler by_batch, Sampler::Create(Spec(kOrder, v1::SAMPLE_DIVISION_BY_BATCH, 2, 3), 8));
  EXPECT_THAT(Draw(by_batch, 0, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(Draw(by_batch, 0, 1), ElementsAre(3, 4, 5));
  EXPECT_THAT(Draw(by_batch, 1, 0), ElementsAre(6, 7, 0));
  ASSERT_OK_AND_ASSIGN(Sampler contiguous, Sampler::Create(Spec(kOrder, v1::SAMPLE_DIVISION_CONTIGUOUS, 2, 3), 9));
  EXPECT_THAT(Draw(contiguous, 0, 1), ElementsAre(4, 5, 6));
  EXPECT_THAT(Draw(contiguous, 1, 1), ElementsAre(7, 4, 5));
}

TEST(SamplerTest, OrdersDependOnSeedAndEpochAlone) {
  const v1::JobSpec spec = Spec(v1::SAMPLE_ORDER_SHUFFLED, v1::SAMPLE_DIVISION_BY_BATCH, 1, 50);
  ASSERT_OK_AND_ASSIGN(const Sampler one, Sampler::Create(spec, 50));
  ASSERT_OK_AND_ASSIGN(const Sampler same, Sampler::Create(spec, 50));
  ASSERT_OK_AND_ASSIGN(const Sampler other,
                       Sampler::Create(Spec(v1::SAMPLE_ORDER_SHUFFLED, v1::SAMPLE_DIVISION_BY_BATCH, 1, 50, 8), 50));
  EXPECT_EQ(Draw(one, 3, 0), Draw(same, 3, 0));
  EXPECT_NE(Draw(one, 3, 0), Draw(one, 4, 0));
  EXPECT_NE(Draw(one, 3, 0), Draw(other, 3, 0));
}

TEST(SamplerTest, LastStepOfTheLargestJobIsInRange) {
  ASSERT_OK_AND_ASSIGN(
      const Sampler sampler,
      Sampler::Create(Spec(v1::SAMPLE_ORDER_SHUFFLED, v1::SAMPLE_DIVISION_BY_EXAMPLE, 4096, 65536), 1000));
  for (int64_t sample : Draw(sampler, (uint64_t{1} << 31) - 2, 4095)) {
    ASSERT_GE(sample, 0);
    ASSERT_LT(sample, 1000);
  }
}

TEST(SamplerTest, RefusesWhatItCannotDeal) {
  constexpr auto kOrder = v1::SAMPLE_ORDER_SHUFFLED;
  EXPECT_THAT(Sampler::Create(Spec(kOrder, v1::SAMPLE_DIVISION_CONTIGUOUS, 5, 1), 4),
              StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
  EXPECT_THAT(Sampler::Create(Spec(kOrder, v1::SAMPLE_DIVISION_BY_BATCH, 0, 1), 4),
              StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
  EXPECT_THAT(Sampler::Create(Spec(kOrder, v1::SAMPLE_DIVISION_BY_BATCH, 1, 1), 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
}

}  // namespace
}  // namespace paramd
