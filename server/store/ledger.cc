#include "server/store/ledger.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {

absl::StatusOr<Ledger::Place> Ledger::Find(Subtree subtree) const {
  if (!tree_.Valid(subtree)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE",
                     absl::StrCat("no subtree of 2^", subtree.log2_size, " slots starts at slot ", subtree.first_slot,
                                  " of ", tree_.slots()));
  }
  Place place;
  place.merged = tree_.Canonical(subtree);
  const uint32_t begin = place.merged.first_slot, end = begin + tree_.SlotsIn(place.merged);
  switch (CoverageOf(begin, end)) {
    case Coverage::kAll:
      place.duplicate = true;
      return place;
    case Coverage::kPart:
      return MakeError(absl::StatusCode::kInvalidArgument, "SUBTREE_OVERLAPS",
                       absl::StrCat("a part of slots ", begin, "..", end - 1, " has already arrived"));
    case Coverage::kNone:
      break;
  }
  while (!(place.merged == tree_.Root())) {
    const size_t sibling = IndexOf(tree_.Sibling(place.merged));
    if (sibling == nodes_.size()) return place;
    place.siblings[place.sibling_count++] = sibling;
    place.merged = tree_.Parent(place.merged);
  }
  place.completes = true;
  return place;
}

GradientBlocks Ledger::SumWith(const Place& place, const GradientPayload& payload) const {
  std::array<const float*, GradientBlocks::kMaxAddends> addends;
  for (size_t i = 0; i < place.sibling_count; ++i) addends[i] = nodes_[place.siblings[i]].sum.data();
  return GradientBlocks(payload, absl::MakeConstSpan(addends).first(place.sibling_count));
}

void Ledger::Store(const Place& place, const GradientPayload& payload, SquaredNormSum* norm) {
  Node merged = {.subtree = place.merged, .end = place.merged.first_slot + tree_.SlotsIn(place.merged)};
  GradientBlocks blocks = SumWith(place, payload);
  // The sum takes the place of the first sibling's, element by element.
  merged.sum = place.sibling_count == 0 ? pool_.Take(elements_) : std::move(nodes_[place.siblings.front()].sum);
  for (int64_t begin = 0; begin < elements_; begin += GradientBlocks::kBlockElements) {
    blocks.NextInto(merged.sum.span().subspan(begin, GradientBlocks::kBlockElements), norm);
  }
  // What is merged lies side by side: the merged node covers nothing else.
  const auto first = nodes_.begin() + static_cast<std::ptrdiff_t>(FirstFrom(merged.subtree.first_slot));
  const auto last = first + static_cast<std::ptrdiff_t>(place.sibling_count);
  if (first == last) {
    nodes_.insert(first, std::move(merged));
  } else {
    *first = std::move(merged);
    nodes_.erase(first + 1, last);
  }
}

bool Ledger::complete() const { return nodes_.size() == 1 && nodes_.front().subtree == tree_.Root(); }

std::vector<SlotRange> Ledger::Missing() const {
  std::vector<SlotRange> missing;
  uint32_t next = 0;
  for (const Node& node : nodes_) {
    const uint32_t first = node.subtree.first_slot;
    if (first > next) missing.push_back({.first = next, .count = first - next});
    next = node.end;
  }
  if (next < tree_.slots()) missing.push_back({.first = next, .count = tree_.slots() - next});
  return missing;
}

Ledger::Coverage Ledger::CoverageOf(uint32_t begin, uint32_t end) const {
  const size_t after = FirstFrom(begin + 1);
  if (after > 0) {
    const Node& before = nodes_[after - 1];
    if (before.end >= end) return Coverage::kAll;
    if (before.end > begin) return Coverage::kPart;
  }
  return after < nodes_.size() && nodes_[after].subtree.first_slot < end ? Coverage::kPart : Coverage::kNone;
}

size_t Ledger::FirstFrom(uint32_t slot) const {
  const auto found = std::partition_point(nodes_.begin(), nodes_.end(),
                                          [slot](const Node& node) { return node.subtree.first_slot < slot; });
  return static_cast<size_t>(found - nodes_.begin());
}

size_t Ledger::IndexOf(Subtree subtree) const {
  const size_t index = FirstFrom(subtree.first_slot);
  return index < nodes_.size() && nodes_[index].subtree == subtree ? index : nodes_.size();
}

}  // namespace paramd
