#include "common/partition/slot_dealing.h"

#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

std::vector<uint32_t> Counts(uint32_t slots, const std::vector<double>& speeds) {
  std::vector<uint32_t> counts;
  uint32_t next = 0;
  for (const SlotRange& range : DealSlotsBySpeed(slots, speeds)) {
    EXPECT_EQ(range.first, next);
    next += range.count;
    counts.push_back(range.count);
  }
  EXPECT_EQ(next, slots);
  return counts;
}

TEST(SlotDealingTest, InProportionToSpeed) {
  using V = std::vector<uint32_t>;
  EXPECT_EQ(Counts(8, {1, 1}), (V{4, 4}));
  EXPECT_EQ(Counts(8, {3, 1}), (V{6, 2}));
  EXPECT_EQ(Counts(64, {1, 0.25}), (V{52, 12}));
  EXPECT_EQ(Counts(9, {2, 1, 1}), (V{5, 2, 2}));
  EXPECT_EQ(Counts(3, {1, 1000, 1}), (V{1, 1, 1})) << "nobody has none";
  EXPECT_EQ(Counts(5, {7}), (V{5}));
  EXPECT_EQ(Counts(7, {1, 1, 1}), (V{3, 2, 2})) << "ties go to the lower index";
}

TEST(SlotDealingTest, NoOtherDealEndsEarlier) {
  const std::vector<double> speeds = {1.0, 2.5, 0.3};
  const double best = StepSeconds(DealSlotsBySpeed(12, speeds), speeds);
  for (uint32_t a = 1; a <= 10; ++a) {
    for (uint32_t b = 1; a + b <= 11; ++b) {
      const std::vector<SlotRange> other = {{0, a}, {a, b}, {a + b, 12 - a - b}};
      EXPECT_LE(best, StepSeconds(other, speeds) + 1e-12) << a << " " << b;
    }
  }
}

TEST(SlotDealingTest, AStepTakesAsLongAsItsSlowestWorker) {
  EXPECT_DOUBLE_EQ(StepSeconds(std::vector<SlotRange>{{0, 4}, {4, 4}}, std::vector<double>{1, 0.5}), 8);
}

}  // namespace
}  // namespace paramd
