// The fixed binary tree over the slots of a step, which makes the sum of a step independent of who computed what.
//
// Node (level k, index i) stands for slots [i * 2^k, min((i + 1) * 2^k, slots)). Its value is the value of its left
// child plus that of its right child, in this order; a node whose right half lies beyond the last slot has the value of
// its left child, unchanged. `Subtree` names a node by its first slot and level. Two names can cover the same slots at
// the right edge (5 slots: {4,0}, {4,1}, {4,2}); Canonical() maps them to the smallest level.
//
//   SlotTree tree(6);
//   for (Subtree s : tree.Cover(1, 5)) ...   // {1,0} {2,1} {4,1}
//
// Immutable, thread safe.
#ifndef PARAMD_COMMON_PARTITION_SLOT_TREE_H_
#define PARAMD_COMMON_PARTITION_SLOT_TREE_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace paramd {

struct Subtree {
  uint32_t first_slot = 0;
  uint32_t log2_size = 0;
  bool operator==(const Subtree&) const = default;
  auto operator<=>(const Subtree&) const = default;
};

class SlotTree {
 public:
  // 1 <= slots <= 4096.
  explicit SlotTree(uint32_t slots);

  uint32_t slots() const { return slots_; }
  // The node that covers all slots, canonical.
  Subtree Root() const;
  // Whether the name is aligned, starts below slots() and is no larger than the tree (2^log2_size <= smallest power of
  // two
  // >= slots()).
  bool Valid(Subtree subtree) const;
  // The name of the same set of slots with the smallest level.
  Subtree Canonical(Subtree subtree) const;
  // How many slots a valid subtree covers.
  uint32_t SlotsIn(Subtree subtree) const;
  // For a canonical subtree that is not the root: the canonical sibling whose value it is merged with, and the
  // canonical parent that results.
  Subtree Sibling(Subtree subtree) const;
  Subtree Parent(Subtree subtree) const;
  // The fewest canonical subtrees that cover exactly slots [first, first + count), ascending.
  std::vector<Subtree> Cover(uint32_t first, uint32_t count) const;

 private:
  uint32_t slots_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_SLOT_TREE_H_
