#include "server/store/ledger.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "server/store/sums.h"

namespace paramd {

absl::StatusOr<Ledger::Outcome> Ledger::Offer(Subtree subtree, absl::string_view payload) {
  if (!tree_.Valid(subtree)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE",
                     absl::StrCat("no subtree of 2^", subtree.log2_size, " slots starts at slot ", subtree.first_slot,
                                  " of ", tree_.slots()));
  }
  if (payload.size() != elements_ * sizeof(float)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat("payload of ", payload.size(), " bytes, the chunk has ", elements_ * sizeof(float)));
  }
  const Subtree canonical = tree_.Canonical(subtree);
  const uint32_t end = canonical.first_slot + tree_.SlotsIn(canonical);
  switch (CoverageOf(canonical.first_slot, end)) {
    case Coverage::kAll:
      return Outcome::kDuplicate;
    case Coverage::kPart:
      return MakeError(absl::StatusCode::kInvalidArgument, "SUBTREE_OVERLAPS",
                       absl::StrCat("a part of slots ", canonical.first_slot, "..", end - 1, " has already arrived"));
    case Coverage::kNone:
      break;
  }
  const bool is_root = canonical == tree_.Root();
  const Nodes::iterator sibling = is_root ? nodes_.end() : FindNode(tree_.Sibling(canonical));
  if (sibling != nodes_.end()) {
    // Addition commutes to the bit, so the payload can be added to either child.
    AddPayload(payload, sibling->second.sum.span());
    Buffer sum = std::move(sibling->second.sum);
    nodes_.erase(sibling);
    Store(tree_.Parent(canonical), std::move(sum));
  } else {
    Buffer sum = pool_.Take(elements_);
    std::memcpy(sum.data(), payload.data(), payload.size());
    Store(canonical, std::move(sum));
  }
  return Outcome::kAccepted;
}

bool Ledger::complete() const {
  return nodes_.size() == 1 && nodes_.begin()->first == 0 && nodes_.begin()->second.end == tree_.slots();
}

std::vector<SlotRange> Ledger::Missing() const {
  std::vector<SlotRange> missing;
  uint32_t next = 0;
  for (const auto& [first, node] : nodes_) {
    if (first > next) missing.push_back({.first = next, .count = first - next});
    next = node.end;
  }
  if (next < tree_.slots()) missing.push_back({.first = next, .count = tree_.slots() - next});
  return missing;
}

Ledger::Coverage Ledger::CoverageOf(uint32_t begin, uint32_t end) const {
  auto after = nodes_.upper_bound(begin);
  if (after != nodes_.begin()) {
    const Node& before = std::prev(after)->second;
    if (before.end >= end) return Coverage::kAll;
    if (before.end > begin) return Coverage::kPart;
  }
  return after != nodes_.end() && after->first < end ? Coverage::kPart : Coverage::kNone;
}

Ledger::Nodes::iterator Ledger::FindNode(Subtree subtree) {
  auto found = nodes_.find(subtree.first_slot);
  return found != nodes_.end() && found->second.subtree == subtree ? found : nodes_.end();
}

void Ledger::Store(Subtree subtree, Buffer sum) {
  Node node = {.subtree = subtree, .end = subtree.first_slot + tree_.SlotsIn(subtree), .sum = std::move(sum)};
  MergeUpwards(nodes_.emplace(subtree.first_slot, std::move(node)).first);
}

void Ledger::MergeUpwards(Nodes::iterator node) {
  while (!(node->second.subtree == tree_.Root())) {
    const Nodes::iterator sibling = FindNode(tree_.Sibling(node->second.subtree));
    if (sibling == nodes_.end()) return;
    const Nodes::iterator left = sibling->first < node->first ? sibling : node;
    const Nodes::iterator right = left == node ? sibling : node;
    Add(right->second.sum.span(), left->second.sum.span());
    left->second.subtree = tree_.Parent(left->second.subtree);
    left->second.end = right->second.end;
    nodes_.erase(right);
    node = left;
  }
}

}  // namespace paramd
