#include "common/partition/slot_tree.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kMaxSlots = 64;

// All valid names, of which a node at the right edge may have several.
std::vector<Subtree> ValidNames(const SlotTree& tree) {
  std::vector<Subtree> names;
  for (uint32_t level = 0; level <= 13; ++level) {
    for (uint32_t first = 0; first <= tree.slots() + 2; ++first) {
      if (tree.Valid({first, level})) names.push_back({first, level});
    }
  }
  return names;
}

using SlotSet = std::pair<uint32_t, uint32_t>;  // First, end.
SlotSet SlotsOf(const SlotTree& tree, Subtree s) { return {s.first_slot, s.first_slot + tree.SlotsIn(s)}; }

TEST(SlotTreeTest, ExampleOfTheHeader) {
  EXPECT_THAT(SlotTree(6).Cover(1, 5), ElementsAre(Subtree{1, 0}, Subtree{2, 1}, Subtree{4, 1}));
  const SlotTree five(5);
  EXPECT_EQ(five.Canonical({4, 2}), (Subtree{4, 0}));
  EXPECT_EQ(five.Sibling({4, 0}), (Subtree{0, 2}));
  EXPECT_EQ(five.Sibling({0, 2}), (Subtree{4, 0}));
  EXPECT_EQ(five.Parent({4, 0}), five.Root());
  EXPECT_EQ(five.Root(), (Subtree{0, 3}));
  EXPECT_EQ(SlotTree(1).Root(), (Subtree{0, 0}));
  EXPECT_EQ(SlotTree(4096).Root(), (Subtree{0, 12}));
}

TEST(SlotTreeTest, ValidNamesAreExactlyTheNodes) {
  for (uint32_t slots = 1; slots <= kMaxSlots; ++slots) {
    const SlotTree tree(slots);
    size_t nodes = 0;
    uint32_t level = 0;
    for (uint32_t width = 1;; width *= 2, ++level) {
      nodes += (slots + width - 1) / width;
      if (width >= slots) break;
    }
    EXPECT_EQ(ValidNames(tree).size(), nodes) << slots;
    EXPECT_EQ(tree.Root().log2_size, level);
    EXPECT_FALSE(tree.Valid({0, level + 1}));
    EXPECT_FALSE(tree.Valid({0, 40}));
    EXPECT_FALSE(tree.Valid({slots, 0}));
    EXPECT_FALSE(tree.Valid({0xffffffffu, 0}));
  }
}

TEST(SlotTreeTest, CanonicalIsTheSmallestNameOfTheSameSlots) {
  for (uint32_t slots = 1; slots <= kMaxSlots; ++slots) {
    const SlotTree tree(slots);
    std::map<SlotSet, Subtree> smallest;
    for (const Subtree s : ValidNames(tree)) smallest.emplace(SlotsOf(tree, s), s);  // Names come by rising level.
    for (const Subtree s : ValidNames(tree)) EXPECT_EQ(tree.Canonical(s), smallest.at(SlotsOf(tree, s)));
    EXPECT_EQ(tree.Canonical(tree.Root()), tree.Root());
  }
}

TEST(SlotTreeTest, SiblingsMakeUpTheirParent) {
  for (uint32_t slots = 2; slots <= kMaxSlots; ++slots) {
    const SlotTree tree(slots);
    for (const Subtree s : ValidNames(tree)) {
      if (s != tree.Canonical(s) || s == tree.Root()) continue;
      const Subtree sibling = tree.Sibling(s), parent = tree.Parent(s);
      EXPECT_EQ(tree.Canonical(sibling), sibling);
      EXPECT_EQ(tree.Canonical(parent), parent);
      EXPECT_TRUE(tree.Valid(sibling) && tree.Valid(parent));
      EXPECT_EQ(tree.Sibling(sibling), s);
      EXPECT_EQ(tree.Parent(sibling), parent);
      const SlotSet a = SlotsOf(tree, s), b = SlotsOf(tree, sibling);
      const SlotSet left = std::min(a, b), right = std::max(a, b);
      EXPECT_EQ(left.second, right.first);
      EXPECT_EQ(SlotsOf(tree, parent), SlotSet(left.first, right.second));
      // The split is where the definition puts it.
      EXPECT_EQ(left.second, parent.first_slot + (1u << (parent.log2_size - 1)));
    }
  }
}

// Fewest nodes that cover [first, end), by dynamic programming over all nodes.
size_t FewestNodes(const SlotTree& tree, uint32_t first, uint32_t end, const std::vector<Subtree>& names) {
  std::vector<size_t> best(end - first + 1, SIZE_MAX / 2);
  best[0] = 0;
  for (uint32_t at = first; at < end; ++at) {
    for (const Subtree s : names) {
      const auto [b, e] = SlotsOf(tree, s);
      if (b == at && e <= end) best[e - first] = std::min(best[e - first], best[at - first] + 1);
    }
  }
  return best.back();
}

TEST(SlotTreeTest, EveryCoverIsExactCanonicalAndMinimal) {
  for (uint32_t slots = 1; slots <= kMaxSlots; ++slots) {
    const SlotTree tree(slots);
    const std::vector<Subtree> names = ValidNames(tree);
    EXPECT_TRUE(tree.Cover(0, 0).empty());
    for (uint32_t first = 0; first < slots; ++first) {
      for (uint32_t end = first + 1; end <= slots; ++end) {
        const std::vector<Subtree> cover = tree.Cover(first, end - first);
        uint32_t at = first;
        for (const Subtree s : cover) {
          ASSERT_TRUE(tree.Valid(s));
          ASSERT_EQ(tree.Canonical(s), s);
          ASSERT_EQ(s.first_slot, at);
          at += tree.SlotsIn(s);
        }
        ASSERT_EQ(at, end);
        if (slots % 7 == 5 || slots == 64) {
          ASSERT_EQ(cover.size(), FewestNodes(tree, first, end, names));
        }
      }
    }
    EXPECT_THAT(tree.Cover(0, slots), ElementsAre(tree.Root()));
  }
}

// The value of a node by the definition, over per-slot values.
float TreeSum(const std::vector<float>& values, uint32_t first, uint32_t level) {
  if (level == 0) return values[first];
  const uint32_t middle = first + (1u << (level - 1));
  const float left = TreeSum(values, first, level - 1);
  return middle < values.size() ? left + TreeSum(values, middle, level - 1) : left;
}

// What a ledger does: keeps canonical subtrees, merges siblings left + right as they arrive.
class Ledger {
 public:
  explicit Ledger(const SlotTree& tree) : tree_(tree) {}
  void Add(Subtree s, float value) {
    while (s != tree_.Root()) {
      const auto sibling = open_.find(tree_.Sibling(s));
      if (sibling == open_.end()) break;
      value = sibling->first.first_slot < s.first_slot ? sibling->second + value : value + sibling->second;
      s = tree_.Parent(s);
      open_.erase(sibling);
    }
    open_[s] = value;
  }
  const std::map<Subtree, float>& open() const { return open_; }

 private:
  const SlotTree& tree_;
  std::map<Subtree, float> open_;
};

TEST(SlotTreeTest, AnyDealAndOrderOfArrivalGivesTheSameBits) {
  Philox random(TestSeed(), RandomStream::kTest);
  for (uint32_t slots = 1; slots <= kMaxSlots; ++slots) {
    const SlotTree tree(slots);
    std::vector<float> values(slots);
    for (float& value : values) value = random.Normal() * std::exp2(static_cast<float>(random.Below(30)));
    const float expected = TreeSum(values, 0, tree.Root().log2_size);
    for (uint32_t workers = 1; workers <= slots; ++workers) {
      std::vector<Subtree> arrivals;
      for (uint64_t worker = 0; worker < workers; ++worker) {
        const uint32_t begin = worker * slots / workers, end = (worker + 1) * slots / workers;
        for (const Subtree s : tree.Cover(begin, end - begin)) arrivals.push_back(s);
      }
      for (int order = 0; order < 4; ++order) {
        for (size_t i = arrivals.size(); i > 1; --i) std::swap(arrivals[i - 1], arrivals[random.Below(i)]);
        Ledger ledger(tree);
        for (const Subtree s : arrivals) ledger.Add(s, TreeSum(values, s.first_slot, s.log2_size));
        ASSERT_EQ(ledger.open().size(), 1u) << slots << " slots, " << workers << " workers";
        ASSERT_EQ(ledger.open().begin()->first, tree.Root());
        ASSERT_EQ(ledger.open().begin()->second, expected) << slots << " slots, " << workers << " workers";
      }
    }
  }
}

}  // namespace
}  // namespace paramd
