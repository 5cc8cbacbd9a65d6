#include "worker/train/arena_memory.h"

#include <cstdint>

#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(ArenaMemoryTest, TakesTheSegmentWhileItHasRoom) {
  const int64_t sizes[] = {1000, 300000, 16};
  size_t bytes = 0;
  for (int64_t size : sizes) bytes += ArenaMemory::SharedBytes(size);
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<SharedSegment> segment, SharedSegment::Create(bytes));
  ArenaMemory memory(segment);
  int64_t total = 0;
  for (int64_t size : sizes) {
    const absl::Span<float> floats = memory.Allocate(size);
    ASSERT_EQ(floats.size(), static_cast<size_t>(size));
    EXPECT_TRUE(segment->Contains(floats.data(), floats.size() * sizeof(float)));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(floats.data()) % 64, 0u);
    total += size * 4;
  }
  EXPECT_EQ(memory.bytes(), total);
  const absl::Span<float> more = memory.Allocate(1 << 20);  // No room is left for it.
  EXPECT_FALSE(segment->Contains(more.data(), sizeof(float)));
  EXPECT_THAT(more, testing::Each(0.0f));
  more.back() = 1;
}

TEST(ArenaMemoryTest, WithoutASegmentItIsTheHeap) {
  ArenaMemory memory;
  const absl::Span<float> one = memory.Allocate(1025);
  const absl::Span<float> two = memory.Allocate(1);
  std::fill(one.begin(), one.end(), 1.0f);
  EXPECT_EQ(two[0], 0.0f);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(two.data()) % 64, 0u);
  EXPECT_TRUE(memory.Allocate(0).empty());
  EXPECT_EQ(memory.bytes(), 1026 * 4);
}

}  // namespace
}  // namespace paramd
