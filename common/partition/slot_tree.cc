#include "common/partition/slot_tree.h"

#include <algorithm>
#include <bit>

namespace paramd {
namespace {

uint32_t FirstAtLevel(uint32_t slot, uint32_t level) { return slot >> level << level; }

}  // namespace

SlotTree::SlotTree(uint32_t slots) : slots_(slots) {}

Subtree SlotTree::Root() const { return {0, static_cast<uint32_t>(std::bit_width(slots_ - 1))}; }

bool SlotTree::Valid(Subtree subtree) const {
  return subtree.log2_size <= Root().log2_size && subtree.first_slot < slots_ &&
         FirstAtLevel(subtree.first_slot, subtree.log2_size) == subtree.first_slot;
}

Subtree SlotTree::Canonical(Subtree subtree) const {
  // While the right half is empty, the left half is the same set of slots.
  while (subtree.log2_size > 0 && subtree.first_slot + (1u << (subtree.log2_size - 1)) >= slots_) --subtree.log2_size;
  return subtree;
}

uint32_t SlotTree::SlotsIn(Subtree subtree) const {
  return std::min(slots_ - subtree.first_slot, 1u << subtree.log2_size);
}

Subtree SlotTree::Parent(Subtree subtree) const {
  // Upwards past the names of the same set, to the first node that has more slots.
  for (uint32_t level = subtree.log2_size + 1; level < Root().log2_size; ++level) {
    const Subtree ancestor = {FirstAtLevel(subtree.first_slot, level), level};
    if (SlotsIn(ancestor) > SlotsIn(subtree)) return ancestor;
  }
  return Root();
}

Subtree SlotTree::Sibling(Subtree subtree) const {
  const Subtree parent = Parent(subtree);
  const Subtree left = {parent.first_slot, parent.log2_size - 1};
  if (subtree.first_slot != left.first_slot) return left;
  return Canonical({left.first_slot + (1u << left.log2_size), left.log2_size});
}

std::vector<Subtree> SlotTree::Cover(uint32_t first, uint32_t count) const {
  std::vector<Subtree> cover;
  const uint32_t end = first + count;
  while (first < end) {
    // The largest aligned node that starts here and stays inside the range (slots beyond the last do not exist).
    Subtree best = {first, 0};
    for (uint32_t level = 1; level <= Root().log2_size && FirstAtLevel(first, level) == first; ++level) {
      if (first + SlotsIn({first, level}) > end) break;
      best.log2_size = level;
    }
    best = Canonical(best);
    cover.push_back(best);
    first += SlotsIn(best);
  }
  return cover;
}

}  // namespace paramd
