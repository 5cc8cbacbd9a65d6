#include "server/store/ledger.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"
#include "server/store/sums.h"

namespace paramd {
namespace {

constexpr int64_t kElements = 19;

using Values = std::vector<float>;

Values SlotValue(uint32_t slot) {
  std::mt19937_64 generator(slot + 1);
  std::normal_distribution<float> normal(0, 1 + slot % 5 * 100.0f);
  Values value(kElements);
  for (float& element : value) element = normal(generator);
  return value;
}

// The tree's definition: left child plus right child, a missing right half adds nothing.
Values TreeSum(uint32_t first, uint32_t size, uint32_t slots) {
  if (size == 1) return SlotValue(first);
  Values left = TreeSum(first, size / 2, slots);
  if (first + size / 2 >= slots) return left;
  const Values right = TreeSum(first + size / 2, size / 2, slots);
  for (int64_t i = 0; i < kElements; ++i) left[i] = left[i] + right[i];
  return left;
}

uint32_t TreeSize(uint32_t slots) {
  uint32_t size = 1;
  while (size < slots) size *= 2;
  return size;
}

bool SameBits(absl::Span<const float> a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), b.size() * sizeof(float)) == 0;
}

class LedgerTest : public testing::Test {
 protected:
  absl::StatusOr<Ledger::Outcome> Offer(Ledger& ledger, Subtree subtree, uint32_t slots) {
    const Values value = TreeSum(subtree.first_slot, 1u << subtree.log2_size, slots);
    return ledger.Offer(subtree, AsPayload(value));
  }

  std::shared_ptr<BufferPool> pool_ = BufferPool::Create();
};

TEST_F(LedgerTest, EveryOrderOfArrivalGivesTheTreesSum) {
  for (uint32_t slots = 1; slots <= 7; ++slots) {
    const Values expected = TreeSum(0, TreeSize(slots), slots);
    std::vector<uint32_t> order(slots);
    std::iota(order.begin(), order.end(), 0);
    Ledger ledger{SlotTree(slots), kElements, *pool_};
    do {
      for (uint32_t slot : order) {
        EXPECT_FALSE(ledger.complete());
        ASSERT_OK_AND_ASSIGN(const Ledger::Outcome outcome, Offer(ledger, {slot, 0}, slots));
        EXPECT_EQ(outcome, Ledger::Outcome::kAccepted);
        EXPECT_LE(ledger.held_buffers(), (slots + 1) / 2);
      }
      ASSERT_TRUE(ledger.complete());
      ASSERT_TRUE(SameBits(ledger.sum(), expected)) << slots;
      ledger.Reset();
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST_F(LedgerTest, RandomCoversByRandomWorkersInRandomOrder) {
  std::mt19937_64 generator(TestSeed());
  for (uint32_t slots = 1; slots <= 64; ++slots) {
    const SlotTree tree(slots);
    const Values expected = TreeSum(0, TreeSize(slots), slots);
    for (int round = 0; round < 4; ++round) {
      const uint32_t workers = 1 + generator() % slots;
      std::vector<Subtree> pushes;
      for (const SlotRange& range : DealSlots(slots, workers)) {
        for (const Subtree& subtree : tree.Cover(range.first, range.count)) pushes.push_back(subtree);
      }
      std::shuffle(pushes.begin(), pushes.end(), generator);
      Ledger ledger(tree, kElements, *pool_);
      for (const Subtree& subtree : pushes) {
        ASSERT_OK_AND_ASSIGN(Ledger::Outcome outcome, Offer(ledger, subtree, slots));
        EXPECT_EQ(outcome, Ledger::Outcome::kAccepted);
        ASSERT_OK_AND_ASSIGN(outcome, Offer(ledger, subtree, slots));  // The network delivers twice.
        EXPECT_EQ(outcome, Ledger::Outcome::kDuplicate);
      }
      ASSERT_TRUE(ledger.complete());
      ASSERT_TRUE(SameBits(ledger.sum(), expected)) << slots << " slots, " << workers << " workers";
    }
  }
}

TEST_F(LedgerTest, IntegersAddUpExactly) {
  constexpr uint32_t kSlots = 37;
  Ledger ledger{SlotTree(kSlots), 3, *pool_};
  float expected = 0;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    const std::vector<float> value(3, static_cast<float>(slot * slot));
    expected += static_cast<float>(slot * slot);
    ASSERT_OK(ledger.Offer({kSlots - 1 - slot, 0}, AsPayload(value)));
  }
  EXPECT_EQ(ledger.sum()[0], expected);
  EXPECT_EQ(ledger.sum()[2], expected);
}

TEST_F(LedgerTest, ANodeThatIsPartOfAnArrivedOneIsADuplicate) {
  Ledger ledger{SlotTree(8), kElements, *pool_};
  ASSERT_OK(Offer(ledger, {0, 2}, 8));
  for (Subtree inside : {Subtree{0, 2}, Subtree{0, 0}, Subtree{2, 1}, Subtree{3, 0}}) {
    ASSERT_OK_AND_ASSIGN(const Ledger::Outcome outcome, Offer(ledger, inside, 8));
    EXPECT_EQ(outcome, Ledger::Outcome::kDuplicate);
  }
  EXPECT_EQ(ledger.held_buffers(), 1u);
}

TEST_F(LedgerTest, PartialOverlapIsRefusedAndChangesNothing) {
  Ledger ledger{SlotTree(8), kElements, *pool_};
  ASSERT_OK(Offer(ledger, {2, 0}, 8));
  EXPECT_THAT(Offer(ledger, {0, 2}, 8), StatusIs(absl::StatusCode::kInvalidArgument, "SUBTREE_OVERLAPS"));
  EXPECT_THAT(Offer(ledger, {2, 1}, 8), StatusIs(absl::StatusCode::kInvalidArgument, "SUBTREE_OVERLAPS"));
  EXPECT_THAT(Offer(ledger, {0, 3}, 8), StatusIs(absl::StatusCode::kInvalidArgument, "SUBTREE_OVERLAPS"));
  for (Subtree rest : {Subtree{3, 0}, Subtree{0, 1}, Subtree{4, 2}}) ASSERT_OK(Offer(ledger, rest, 8));
  EXPECT_TRUE(SameBits(ledger.sum(), TreeSum(0, 8, 8)));
}

TEST_F(LedgerTest, NamesBeyondTheRightEdgeMeanTheSameNode) {
  Ledger ledger{SlotTree(5), kElements, *pool_};
  ASSERT_OK(Offer(ledger, {4, 2}, 5));
  ASSERT_OK_AND_ASSIGN(const Ledger::Outcome outcome, Offer(ledger, {4, 0}, 5));
  EXPECT_EQ(outcome, Ledger::Outcome::kDuplicate);
  ASSERT_OK(Offer(ledger, {0, 2}, 5));
  EXPECT_TRUE(ledger.complete());
  EXPECT_TRUE(SameBits(ledger.sum(), TreeSum(0, 8, 5)));
}

TEST_F(LedgerTest, RefusesWhatIsNoNodeAndWrongSizes) {
  Ledger ledger{SlotTree(6), kElements, *pool_};
  const Values value(kElements);
  EXPECT_THAT(ledger.Offer({1, 1}, AsPayload(value)), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE"));
  EXPECT_THAT(ledger.Offer({6, 0}, AsPayload(value)), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE"));
  EXPECT_THAT(ledger.Offer({0, 40}, AsPayload(value)), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE"));
  EXPECT_THAT(ledger.Offer({0, 0}, AsPayload(value).substr(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_EQ(ledger.held_buffers(), 0u);
}

TEST_F(LedgerTest, NamesTheMissingSlots) {
  Ledger ledger{SlotTree(8), kElements, *pool_};
  ASSERT_OK(Offer(ledger, {2, 1}, 8));
  ASSERT_OK(Offer(ledger, {6, 0}, 8));
  const std::vector<SlotRange> missing = ledger.Missing();
  ASSERT_EQ(missing.size(), 3u);
  EXPECT_EQ(missing[0].first, 0u);
  EXPECT_EQ(missing[0].count, 2u);
  EXPECT_EQ(missing[1].first, 4u);
  EXPECT_EQ(missing[1].count, 2u);
  EXPECT_EQ(missing[2].first, 7u);
  EXPECT_EQ(missing[2].count, 1u);
}

TEST_F(LedgerTest, BuffersAreUsedAgain) {
  Ledger ledger{SlotTree(4), kElements, *pool_};
  for (int step = 0; step < 100; ++step) {
    for (uint32_t slot : {3, 1, 0, 2}) ASSERT_OK(Offer(ledger, {slot, 0}, 4));
    ledger.Reset();
  }
  EXPECT_LE(pool_->allocated_bytes(), 3 * kElements * 4);
}

}  // namespace
}  // namespace paramd
