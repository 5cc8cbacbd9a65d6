#include "worker/train/slot_accumulator.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using Result = SlotAccumulator::Result;

// Two chunks of 1024 elements and a short third one.
ArenaPlan TestPlan() {
  ParameterSpec parameter;
  parameter.name = "p";
  parameter.shape = {2064};
  return ArenaPlan::Create({parameter}, 1024).value();
}

// Gradients whose sums depend on the order: magnitudes over many powers of two.
std::vector<std::vector<float>> Gradients(int64_t elements, uint32_t slots) {
  std::vector<std::vector<float>> gradients(slots, std::vector<float>(elements));
  for (uint32_t slot = 0; slot < slots; ++slot) {
    Philox random(TestSeed(), RandomStream::kTest, slots, slot);
    for (float& value : gradients[slot]) value = random.Normal() * static_cast<float>(1 << random.Below(24));
  }
  return gradients;
}

// The value of a node by its definition.
float Direct(const std::vector<std::vector<float>>& gradients, uint32_t first, uint32_t log2_size, int64_t element) {
  if (log2_size == 0) return gradients[first][element];
  const uint32_t half = 1u << (log2_size - 1);
  const float left = Direct(gradients, first, log2_size - 1, element);
  if (first + half >= gradients.size()) return left;
  return left + Direct(gradients, first + half, log2_size - 1, element);
}

void RunSlots(SlotAccumulator& sums, const std::vector<std::vector<float>>& gradients, uint32_t first, uint32_t count,
              int chunks) {
  for (uint32_t i = 0; i < count; ++i) {
    absl::Span<float> buffer = sums.BeginSlot(i);
    std::copy(gradients[first + i].begin(), gradients[first + i].end(), buffer.begin());
    for (int chunk = chunks - 1; chunk >= 0; --chunk) ASSERT_EQ(sums.ChunkFinal(chunk), i + 1 == count);
  }
}

TEST(SlotAccumulatorTest, SubtreeSumsAreTheTreesBitForBit) {
  const ArenaPlan plan = TestPlan();
  ASSERT_EQ(plan.chunk_count(), 3);
  for (uint32_t slots : {1, 2, 3, 5, 6, 8, 11, 16}) {
    const SlotTree tree(slots);
    const auto gradients = Gradients(plan.arena_elements(), slots);
    for (uint32_t first = 0; first < slots; ++first) {
      for (uint32_t count = 1; first + count <= slots; ++count) {
        ArenaMemory memory;
        SlotAccumulator sums(plan, tree, {first, count}, Result::kSubtrees, memory);
        for (int step = 0; step < 2; ++step) RunSlots(sums, gradients, first, count, plan.chunk_count());
        ASSERT_EQ(sums.subtrees(), tree.Cover(first, count));
        ASSERT_EQ(sums.payload_count(), static_cast<int>(sums.subtrees().size()));
        for (int s = 0; s < sums.payload_count(); ++s) {
          const Subtree subtree = sums.subtrees()[s];
          for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
            const absl::Span<const float> payload = sums.Payload(chunk, s);
            for (size_t i = 0; i < payload.size(); i += 97) {
              const float expected =
                  Direct(gradients, subtree.first_slot, subtree.log2_size, plan.ChunkRange(chunk).begin + i);
              ASSERT_EQ(std::memcmp(&payload[i], &expected, sizeof(float)), 0)
                  << slots << " slots, [" << first << ", +" << count << ") chunk " << chunk << " element " << i;
            }
          }
        }
      }
    }
  }
}

TEST(SlotAccumulatorTest, TotalAddsTheSubtreesFromTheLeft) {
  const ArenaPlan plan = TestPlan();
  const SlotTree tree(8);
  const auto gradients = Gradients(plan.arena_elements(), 8);
  ArenaMemory memory;
  SlotAccumulator sums(plan, tree, {1, 6}, Result::kTotal, memory);  // Cover: 1, 2-3, 4-5, 6.
  RunSlots(sums, gradients, 1, 6, plan.chunk_count());
  ASSERT_EQ(sums.payload_count(), 1);
  ASSERT_EQ(sums.subtrees().size(), 4u);
  for (int64_t i = 0; i < 1024; ++i) {
    const float expected =
        ((gradients[1][i] + Direct(gradients, 2, 1, i)) + Direct(gradients, 4, 1, i)) + gradients[6][i];
    ASSERT_EQ(sums.Payload(0, 0)[i], expected) << i;
  }
}

TEST(SlotAccumulatorTest, ChunksMayFinishInterleavedWithTheBackwardPass) {
  const ArenaPlan plan = TestPlan();
  const auto gradients = Gradients(plan.arena_elements(), 4);
  ArenaMemory memory;
  SlotAccumulator sums(plan, SlotTree(4), {0, 4}, Result::kSubtrees, memory);
  for (uint32_t slot = 0; slot < 4; ++slot) {
    // Each chunk is written just before it is final, in another order per slot.
    absl::Span<float> buffer = sums.BeginSlot(slot);
    for (int i = 0; i < 3; ++i) {
      const int chunk = static_cast<int>((slot + i) % 3);
      const ElementRange range = plan.ChunkRange(chunk);
      std::copy(gradients[slot].begin() + range.begin, gradients[slot].begin() + range.end,
                buffer.begin() + range.begin);
      sums.ChunkFinal(chunk);
    }
  }
  for (int64_t i = 0; i < plan.arena_elements(); ++i) {
    ASSERT_EQ(sums.Payload(static_cast<int>(i / 1024), 0)[i % 1024], Direct(gradients, 0, 2, i));
  }
}

TEST(SlotAccumulatorTest, MemoryIsLogarithmic) {
  const ArenaPlan plan = TestPlan();
  ArenaMemory memory;
  SlotAccumulator sums(plan, SlotTree(4096), {0, 4096}, Result::kSubtrees, memory);
  EXPECT_LE(sums.memory_bytes(), 14 * plan.arena_elements() * 4);
  EXPECT_EQ(sums.memory_bytes(), memory.bytes());
  EXPECT_EQ(memory.bytes(), SlotAccumulator::BufferCount(SlotTree(4096), {0, 4096}) * plan.arena_elements() * 4);
  SlotAccumulator one(plan, SlotTree(4096), {17, 1}, Result::kSubtrees, memory);
  EXPECT_EQ(one.memory_bytes(), plan.arena_elements() * 4);
}

}  // namespace
}  // namespace paramd
