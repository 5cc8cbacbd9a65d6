#include "common/model/initialize.h"

#include <cmath>
#include <vector>

#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "common/model/parameter_layout.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

ArenaPlan TestPlan() {
  std::vector<ParameterSpec> parameters = {
      {"ones", {5}, ParameterRole::kNorm, {Initializer::Kind::kOnes}},
      {"normal", {301, 333}, ParameterRole::kWeight, {Initializer::Kind::kNormal, 0.02f}},
      {"zeros", {7}, ParameterRole::kBias, {Initializer::Kind::kZeros}},
      {"uniform", {100003}, ParameterRole::kWeight, {Initializer::Kind::kUniform, 0.5f}},
      {"normal2", {3}, ParameterRole::kWeight, {Initializer::Kind::kNormal, 0.02f}},
  };
  return *ArenaPlan::Create(std::move(parameters), 1024);
}

std::vector<float> Whole(const ArenaPlan& plan, uint64_t seed) {
  std::vector<float> values(plan.arena_elements(), -1);
  InitializeArenaRange(plan, seed, 0, absl::MakeSpan(values));
  return values;
}

struct Moments {
  double mean = 0, deviation = 0, lowest = 1e9, highest = -1e9;
};
Moments MomentsOf(const ArenaPlan& plan, const std::vector<float>& arena, int parameter) {
  const ElementRange range = plan.ParameterRange(parameter);
  Moments m;
  double squares = 0;
  for (int64_t i = range.begin; i < range.end; ++i) {
    m.mean += arena[i];
    squares += static_cast<double>(arena[i]) * arena[i];
    m.lowest = std::min<double>(m.lowest, arena[i]);
    m.highest = std::max<double>(m.highest, arena[i]);
  }
  m.mean /= range.size();
  m.deviation = std::sqrt(squares / range.size() - m.mean * m.mean);
  return m;
}

TEST(InitializeTest, ValuesHaveTheirDistribution) {
  const ArenaPlan plan = TestPlan();
  const std::vector<float> arena = Whole(plan, TestSeed());
  EXPECT_EQ(MomentsOf(plan, arena, 0).lowest, 1);
  EXPECT_EQ(MomentsOf(plan, arena, 0).highest, 1);
  EXPECT_EQ(MomentsOf(plan, arena, 2).lowest, 0);
  EXPECT_EQ(MomentsOf(plan, arena, 2).highest, 0);
  // Standard errors over 1e5 samples: mean 0.02 / 316 = 6.3e-5, deviation 0.02 / 447 = 4.5e-5; five of them allowed.
  const Moments normal = MomentsOf(plan, arena, 1);
  EXPECT_NEAR(normal.mean, 0, 3.2e-4);
  EXPECT_NEAR(normal.deviation, 0.02, 2.3e-4);
  EXPECT_GT(normal.highest, 0.02 * 3.5);
  EXPECT_LT(normal.lowest, -0.02 * 3.5);
  const Moments uniform = MomentsOf(plan, arena, 3);
  EXPECT_NEAR(uniform.mean, 0, 5e-3);
  EXPECT_NEAR(uniform.deviation, 0.5 / std::sqrt(3.0), 3e-3);
  EXPECT_GE(uniform.lowest, -0.5);
  EXPECT_LT(uniform.highest, 0.5);
}

TEST(InitializeTest, PaddingIsZero) {
  const ArenaPlan plan = TestPlan();
  const std::vector<float> arena = Whole(plan, 7);
  for (int64_t i = 5; i < 16; ++i) EXPECT_EQ(arena[i], 0) << i;
}

TEST(InitializeTest, AnyPiecesGiveTheSameBits) {
  const ArenaPlan plan = TestPlan();
  const std::vector<float> whole = Whole(plan, 42);
  Philox random(TestSeed(), RandomStream::kTest);
  for (const int64_t longest : {1, 3, 17, 1000, 50000}) {
    std::vector<float> pieces(whole.size(), -1);
    for (int64_t begin = 0; begin < plan.arena_elements();) {
      const int64_t size =
          std::min<int64_t>(1 + static_cast<int64_t>(random.Below(longest)), plan.arena_elements() - begin);
      InitializeArenaRange(plan, 42, begin, absl::MakeSpan(pieces).subspan(begin, size));
      begin += size;
    }
    EXPECT_EQ(pieces, whole) << longest;
  }
}

TEST(InitializeTest, SeedAndParameterMatter) {
  const ArenaPlan plan = TestPlan();
  const std::vector<float> one = Whole(plan, 1), two = Whole(plan, 2), high = Whole(plan, 1 + (uint64_t{1} << 32));
  const int64_t a = plan.ParameterRange(1).begin, b = plan.ParameterRange(4).begin;
  EXPECT_NE(one[a], two[a]);
  EXPECT_NE(one[a], high[a]);
  EXPECT_NE(one[a], one[b]);  // Both normal, both element 0.
}

// What a seed means must not change from one release to the next. Values from an independent implementation (Python's
// math library, rounded to float).
TEST(InitializeTest, GoldenValues) {
  const ArenaPlan plan = TestPlan();
  const std::vector<float> arena = Whole(plan, 1);
  const int64_t normal = plan.ParameterRange(1).begin, uniform = plan.ParameterRange(3).begin;
  EXPECT_EQ(arena[normal], -0x1.6ea97cp-6f);
  EXPECT_EQ(arena[normal + 1], 0x1.172e5ap-6f);
  EXPECT_EQ(arena[normal + 100000], -0x1.fd05ep-6f);
  EXPECT_EQ(arena[uniform], 0x1.28a3ap-4f);
  EXPECT_EQ(arena[uniform + 100002], 0x1.7f4fdcp-2f);
}

}  // namespace
}  // namespace paramd
