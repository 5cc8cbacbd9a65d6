#include "worker/graph/memory_plan.h"

#include <algorithm>
#include <vector>

#include "common/base/philox.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(MemoryPlanTest, NothingNeedsNothing) {
  EXPECT_EQ(PlanMemory({}).elements, 0);
  EXPECT_EQ(PlanMemory({TensorLifetime{.elements = 100}}).elements, 0);  // Never used.
  EXPECT_EQ(PlanMemory({TensorLifetime{.elements = 0, .first_step = 0, .last_step = 1}}).elements, 0);
}

TEST(MemoryPlanTest, ReusesMemoryOfDeadTensorsOnly) {
  const MemoryPlan plan = PlanMemory({{100, 0, 1}, {100, 1, 2}, {100, 2, 3}});
  EXPECT_EQ(plan.elements, 224);  // Two at a time, rounded up to 112.
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
}

TEST(MemoryPlanTest, FillsGaps) {
  // Two long-lived tensors around a hole that the third leaves.
  const MemoryPlan plan = PlanMemory({{64, 0, 9}, {48, 0, 2}, {32, 0, 9}, {48, 3, 9}});
  EXPECT_EQ(plan.elements, 64 + 48 + 32);
  EXPECT_EQ(plan.offsets[1], plan.offsets[3]);
}

TEST(MemoryPlanTest, LivingTensorsNeverOverlap) {
  Philox random(1, RandomStream::kTest);
  for (int round = 0; round < 50; ++round) {
    std::vector<TensorLifetime> tensors;
    int64_t total = 0;
    for (int i = 0; i < 40; ++i) {
      const int first = static_cast<int>(random.Below(30));
      tensors.push_back({static_cast<int64_t>(random.Below(1000)), first, first + static_cast<int>(random.Below(10))});
      total += (tensors.back().elements + 15) / 16 * 16;
    }
    const MemoryPlan plan = PlanMemory(tensors);
    EXPECT_LT(plan.elements, total);
    for (size_t a = 0; a < tensors.size(); ++a) {
      EXPECT_EQ(plan.offsets[a] % 16, 0);
      EXPECT_LE(plan.offsets[a] + tensors[a].elements, plan.elements);
      for (size_t b = 0; b < a; ++b) {
        if (tensors[a].first_step > tensors[b].last_step || tensors[b].first_step > tensors[a].last_step) continue;
        if (tensors[a].elements == 0 || tensors[b].elements == 0) continue;
        EXPECT_TRUE(plan.offsets[a] + tensors[a].elements <= plan.offsets[b] ||
                    plan.offsets[b] + tensors[b].elements <= plan.offsets[a]);
      }
    }
  }
}

}  // namespace
}  // namespace paramd
