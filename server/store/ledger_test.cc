#include "server/store/ledger.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

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
  enum class Outcome { kAccepted, kDuplicate };

  absl::StatusOr<Outcome> Offer(Ledger& ledger, Subtree subtree, const Values& value) {
    const absl::StatusOr<Ledger::Place> place = ledger.Find(subtree);
    if (!place.ok()) return place.status();
    if (place->duplicate) return Outcome::kDuplicate;
    ledger.Store(*place, {PayloadView(AsBytes(value))});
    EXPECT_EQ(ledger.complete(), place->completes);
    return Outcome::kAccepted;
  }
  absl::StatusOr<Outcome> Offer(Ledger& ledger, Subtree subtree, uint32_t slots) {
    return Offer(ledger, subtree, TreeSum(subtree.first_slot, 1u << subtree.log2_size, slots));
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
        ASSERT_OK_AND_ASSIGN(const Outcome outcome, Offer(ledger, {slot, 0}, slots));
        EXPECT_EQ(outcome, Outcome::kAccepted);
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
        ASSERT_OK_AND_ASSIGN(Outcome outcome, Offer(ledger, subtree, slots));
        EXPECT_EQ(outcome, Outcome::kAccepted);
        ASSERT_OK_AND_ASSIGN(outcome, Offer(ledger, subtree, slots));  // The network delivers twice.
        EXPECT_EQ(outcome, Outcome::kDuplicate);
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
    ASSERT_OK(Offer(ledger, {kSlots - 1 - slot, 0}, value));
  }
  EXPECT_EQ(ledger.sum()[0], expected);
  EXPECT_EQ(ledger.sum()[2], expected);
}

TEST_F(LedgerTest, ANodeThatIsPartOfAnArrivedOneIsADuplicate) {
  Ledger ledger{SlotTree(8), kElements, *pool_};
  ASSERT_OK(Offer(ledger, {0, 2}, 8));
  for (Subtree inside : {Subtree{0, 2}, Subtree{0, 0}, Subtree{2, 1}, Subtree{3, 0}}) {
    ASSERT_OK_AND_ASSIGN(const Outcome outcome, Offer(ledger, inside, 8));
    EXPECT_EQ(outcome, Outcome::kDuplicate);
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
  ASSERT_OK_AND_ASSIGN(const Outcome outcome, Offer(ledger, {4, 0}, 5));
  EXPECT_EQ(outcome, Outcome::kDuplicate);
  ASSERT_OK(Offer(ledger, {0, 2}, 5));
  EXPECT_TRUE(ledger.complete());
  EXPECT_TRUE(SameBits(ledger.sum(), TreeSum(0, 8, 5)));
}

TEST_F(LedgerTest, RefusesWhatIsNoNode) {
  Ledger ledger{SlotTree(6), kElements, *pool_};
  for (Subtree none : {Subtree{1, 1}, Subtree{6, 0}, Subtree{0, 40}}) {
    EXPECT_THAT(ledger.Find(none).status(), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE"));
  }
  EXPECT_EQ(ledger.held_buffers(), 0u);
}

// What completes the step has the tree's sum and norm, whether it is stored or used while it is made: for every subtree
// that can come last, with up to three levels merged at once.
TEST_F(LedgerTest, TheLastContributionCanBeUsedWithoutStoringIt) {
  constexpr uint32_t kSlots = 7;
  constexpr float kAverage = 1.0f / kSlots;
  const Values expected = TreeSum(0, 8, kSlots);
  for (uint32_t last = 0; last < kSlots; ++last) {
    Ledger ledger{SlotTree(kSlots), kElements, *pool_};
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      if (slot == last) continue;
      ASSERT_OK(Offer(ledger, {slot, 0}, kSlots));
    }
    const Values value = SlotValue(last);
    ASSERT_OK_AND_ASSIGN(const Ledger::Place place, ledger.Find({last, 0}));
    ASSERT_TRUE(place.completes);
    EXPECT_EQ(place.sibling_count, last == 6 ? 2u : 3u);
    GradientBlocks blocks = ledger.SumWith(place, {PayloadView(AsBytes(value))});
    Values sum(kElements);
    SquaredNormSum made(kAverage), stored(kAverage);
    blocks.NextInto(absl::MakeSpan(sum), &made);
    EXPECT_TRUE(SameBits(sum, expected)) << last;
    EXPECT_FALSE(ledger.complete());
    ledger.Store(place, {PayloadView(AsBytes(value))}, &stored);
    ASSERT_TRUE(ledger.complete());
    EXPECT_TRUE(SameBits(ledger.sum(), expected)) << last;
    EXPECT_EQ(made.Total(), SquaredNorm(expected, kAverage));
    EXPECT_EQ(stored.Total(), SquaredNorm(expected, kAverage));
  }
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
  EXPECT_LE(pool_->allocated_bytes(), 3 * 32 * 4);
}

}  // namespace
}  // namespace paramd
