#include "common/partition/chunk_map.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "common/base/error.h"
#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kPlenty = int64_t{1} << 50;

std::vector<int64_t> Loads(const std::vector<int64_t>& chunks, const std::vector<uint32_t>& server_of, size_t servers) {
  std::vector<int64_t> loads(servers, 0);
  for (size_t i = 0; i < chunks.size(); ++i) loads.at(server_of[i]) += chunks[i];
  return loads;
}

TEST(PlaceChunksTest, LargestFirstTiesToTheLowerServer) {
  ASSERT_OK_AND_ASSIGN(const auto even, PlaceChunks({4, 4, 4, 4, 1}, {kPlenty, kPlenty}));
  EXPECT_THAT(even, ElementsAre(0, 1, 0, 1, 0));
  ASSERT_OK_AND_ASSIGN(const auto mixed, PlaceChunks({1, 2, 3, 6}, {kPlenty, kPlenty}));
  EXPECT_THAT(mixed, ElementsAre(1, 1, 1, 0));
}

TEST(PlaceChunksTest, LoadsDifferByAtMostOneChunk) {
  Philox random(TestSeed(), RandomStream::kTest);
  for (int servers = 1; servers <= 9; ++servers) {
    for (int count : {1, 2, 5, 100, 1000}) {
      std::vector<int64_t> chunks(count);
      for (int64_t& bytes : chunks) bytes = 1 + static_cast<int64_t>(random.Below(1000));
      ASSERT_OK_AND_ASSIGN(const auto server_of, PlaceChunks(chunks, std::vector<int64_t>(servers, kPlenty)));
      const std::vector<int64_t> loads = Loads(chunks, server_of, servers);
      const auto [low, high] = std::minmax_element(loads.begin(), loads.end());
      EXPECT_LE(*high - *low, *std::max_element(chunks.begin(), chunks.end()));
    }
  }
}

TEST(PlaceChunksTest, RespectsRoom) {
  ASSERT_OK_AND_ASSIGN(const auto server_of, PlaceChunks({10, 10, 10, 10}, {10, 0, 30}));
  EXPECT_THAT(Loads({10, 10, 10, 10}, server_of, 3), ElementsAre(10, 0, 30));
  ASSERT_OK_AND_ASSIGN(const auto full, PlaceChunks({7, 3}, {-5, 10}));
  EXPECT_THAT(full, ElementsAre(1, 1));
  ASSERT_OK_AND_ASSIGN(const auto none, PlaceChunks({}, {}));
  EXPECT_THAT(none, IsEmpty());
}

TEST(PlaceChunksTest, RefusesWhatDoesNotFit) {
  const auto refused = PlaceChunks({10, 10, 10}, {15, 14, -3});
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, "INSUFFICIENT_SERVER_MEMORY"));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("needs 30 bytes"));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("29 bytes free"));
  EXPECT_EQ(GetErrorMetadata(refused.status())["neededBytes"], "30");
  EXPECT_THAT(PlaceChunks({1}, {}), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(PlaceChunks({-1}, {5}), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_CHUNK"));
}

TEST(DealSlotsTest, AllDeals) {
  for (uint32_t slots = 1; slots <= 64; ++slots) {
    for (uint32_t workers = 1; workers <= slots; ++workers) {
      const std::vector<SlotRange> ranges = DealSlots(slots, workers);
      ASSERT_EQ(ranges.size(), workers);
      uint32_t next = 0;
      for (const SlotRange& range : ranges) {
        ASSERT_EQ(range.first, next);
        ASSERT_GE(range.count, slots / workers);
        ASSERT_LE(range.count, slots / workers + 1);
        next += range.count;
      }
      ASSERT_EQ(next, slots);
    }
  }
  EXPECT_EQ(DealSlots(4096, 4096).back().first, 4095u);
}

}  // namespace
}  // namespace paramd
