// Which slots of a chunk's open step have arrived, and their sums: the server's end of the canonical reduction
// (common/partition/slot_tree.h). A contribution is the sum of one aligned subtree; siblings are merged as soon as both
// are there, nothing else ever is, so the step's sum has the same bits whatever the order of arrival.
//
//   Ledger ledger(SlotTree(slots), chunk_elements, *pool);
//   ASSIGN_OR_RETURN(const Ledger::Place place, ledger.Find(subtree));
//   if (place.duplicate) ...                                           // All of it has arrived before.
//   if (place.completes) Use(ledger.SumWith(place, payload));          // The whole gradient, not stored,
//   else ledger.Store(place, payload);                                 // or else stored.
//
// The contribution that completes the step is best not stored: its sum is used while it is made. Where the sum is
// needed later, Store keeps it: then complete() is true and sum() has it.
//
// Memory: one buffer per arrived subtree whose sibling is missing: at most ceil(slots / 2), two when slots come in
// ascending or descending order per worker pair. Buffers go back to the pool in Reset and when merged. Allocates
// nothing once it has held its most. Not thread safe.
#ifndef PARAMD_SERVER_STORE_LEDGER_H_
#define PARAMD_SERVER_STORE_LEDGER_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/chunk_map.h"
#include "common/partition/slot_tree.h"
#include "common/tensor/reduce.h"
#include "server/store/buffer_pool.h"
#include "server/store/gradient_blocks.h"

namespace paramd {

class Ledger {
 public:
  // Where a contribution goes. Valid until the ledger changes.
  struct Place {
    bool duplicate = false;  // All its slots are there; nothing else below counts then.
    bool completes = false;  // With it, all slots are there.
    Subtree merged;          // What results from the contribution and the siblings.
    // Nodes it is merged with, in this order: its sibling, the sibling of both, and so on.
    std::array<size_t, GradientBlocks::kMaxAddends> siblings = {};
    size_t sibling_count = 0;
  };

  // `pool` must outlive the ledger.
  Ledger(const SlotTree& tree, int64_t elements, BufferPool& pool) : tree_(tree), elements_(elements), pool_(pool) {}

  // kInvalidArgument: INVALID_SUBTREE when the tree has no such node, SUBTREE_OVERLAPS when only a part of its slots is
  // there.
  absl::StatusOr<Place> Find(Subtree subtree) const;
  // The sum of the contribution, of `elements`, and its siblings.
  GradientBlocks SumWith(const Place& place, const GradientPayload& payload) const;
  // Takes the contribution; adds the sum that results to `norm` unless that is null.
  void Store(const Place& place, const GradientPayload& payload, SquaredNormSum* norm = nullptr);

  bool complete() const;
  // The sum over all slots. Only when complete; valid until Reset.
  absl::Span<const float> sum() const { return nodes_.front().sum.span(); }
  // Forgets all contributions.
  void Reset() { nodes_.clear(); }

  // The slots that have not arrived, as ascending disjoint ranges.
  std::vector<SlotRange> Missing() const;
  size_t held_buffers() const { return nodes_.size(); }

 private:
  struct Node {
    Subtree subtree;  // Canonical.
    uint32_t end;     // One past its last slot.
    Buffer sum;
  };

  enum class Coverage { kNone, kPart, kAll };
  Coverage CoverageOf(uint32_t begin, uint32_t end) const;
  // Index of the first node that starts at `slot` or later.
  size_t FirstFrom(uint32_t slot) const;
  // Index of the node, or nodes_.size().
  size_t IndexOf(Subtree subtree) const;

  const SlotTree tree_;
  const int64_t elements_;
  BufferPool& pool_;
  std::vector<Node> nodes_;  // Disjoint, ascending; no two are siblings.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_LEDGER_H_
