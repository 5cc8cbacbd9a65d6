#include "worker/parameter_client/request_table.h"

#include <algorithm>
#include <set>
#include <vector>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

// Sends everything that is unsent; the chunks in order.
std::vector<int> Drain(RequestTable& table) {
  std::vector<int> chunks;
  while (OpenRequest* next = table.Next()) {
    chunks.push_back(next->call.chunk);
    table.MarkSent(*next);
  }
  return chunks;
}

TEST(RequestTableTest, LowestChunkFirstAndWithinAChunkTheOldest) {
  RequestTable table;
  std::vector<uint64_t> ids;
  for (int chunk : {7, 3, 5, 3, 0}) ids.push_back(table.Add({.chunk = chunk}).id);
  EXPECT_EQ(table.Next()->id, ids[4]);
  table.MarkSent(*table.Next());
  EXPECT_EQ(table.Next()->id, ids[1]);
  table.MarkSent(*table.Next());
  EXPECT_EQ(table.Next()->id, ids[3]);
  table.Add({.chunk = 1});  // Overtakes what waits.
  EXPECT_EQ(Drain(table), (std::vector<int>{1, 3, 5, 7}));
  // Sent again, in the same order, whatever the order of the marks.
  table.MarkUnsent(*table.Find(ids[0]));
  table.MarkUnsent(*table.Find(ids[3]));
  table.MarkUnsent(*table.Find(ids[1]));
  table.MarkUnsent(*table.Find(ids[1]));
  EXPECT_EQ(table.Next()->id, ids[1]);
  EXPECT_EQ(Drain(table), (std::vector<int>{3, 3, 7}));
}

TEST(RequestTableTest, ErasedRequestsAreNeitherFoundNorSent) {
  RequestTable table;
  const uint64_t first = table.Add({.chunk = 1}).id;
  const uint64_t second = table.Add({.chunk = 2}).id;
  table.Erase(*table.Find(first));
  EXPECT_EQ(table.Find(first), nullptr);
  EXPECT_EQ(table.size(), 1);
  const uint64_t third = table.Add({.chunk = 1}).id;  // Takes the slot.
  EXPECT_NE(third, first);
  EXPECT_EQ(table.Find(first), nullptr);
  EXPECT_EQ(Drain(table), (std::vector<int>{1, 2}));
  EXPECT_EQ(table.Find(second)->call.chunk, 2);
  for (uint64_t unknown : {uint64_t{0}, uint64_t{1}, RequestTable::kFirstId - 1, third + 1, ~uint64_t{0}}) {
    EXPECT_EQ(table.Find(unknown), nullptr) << unknown;
  }
}

TEST(RequestTableTest, AgreesWithASetUnderRandomUse) {
  RequestTable table;
  std::set<std::pair<int, uint64_t>> unsent;
  std::vector<uint64_t> open;
  Philox random(TestSeed(), RandomStream::kTest, 1, 1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t which = open.empty() ? 0 : open[random.Below(static_cast<uint32_t>(open.size()))];
    switch (open.size() < 5 ? 0 : random.Below(4)) {
      case 0: {
        const OpenRequest& request = table.Add({.chunk = static_cast<int>(random.Below(9))});
        unsent.insert({request.call.chunk, request.id});
        open.push_back(request.id);
        break;
      }
      case 1:
        unsent.erase({table.Find(which)->call.chunk, which});
        table.Erase(*table.Find(which));
        std::erase(open, which);
        break;
      case 2:
        table.MarkUnsent(*table.Find(which));
        unsent.insert({table.Find(which)->call.chunk, which});
        break;
      default:
        if (unsent.empty()) break;
        ASSERT_EQ(table.Next()->id, unsent.begin()->second);
        table.MarkSent(*table.Next());
        unsent.erase(unsent.begin());
    }
    ASSERT_EQ(table.Next() == nullptr, unsent.empty());
    ASSERT_EQ(table.size(), static_cast<int64_t>(open.size()));
  }
}

}  // namespace
}  // namespace paramd
