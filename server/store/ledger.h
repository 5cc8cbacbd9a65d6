// Which slots of a chunk's open step have arrived, and their sums: the server's end of the canonical reduction
// (common/partition/slot_tree.h). A contribution is the sum of one aligned subtree; siblings are merged as soon as both
// are there, nothing else ever is, so the step's sum has the same bits whatever the order of arrival.
//
//   Ledger ledger(SlotTree(slots), chunk_elements, *pool);
//   ASSIGN_OR_RETURN(Ledger::Outcome outcome, ledger.Offer(subtree, payload));
//   if (ledger.complete()) { use(ledger.sum()); ledger.Reset(); }
//
// Memory: one buffer per arrived subtree whose sibling is missing: at most ceil(slots / 2), two when slots come in
// ascending or descending order per worker pair. Buffers go back to the pool in Reset and when merged.
// Not thread safe.
#ifndef PARAMD_SERVER_STORE_LEDGER_H_
#define PARAMD_SERVER_STORE_LEDGER_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/partition/chunk_map.h"
#include "common/partition/slot_tree.h"
#include "server/store/buffer_pool.h"

namespace paramd {

class Ledger {
 public:
  enum class Outcome { kAccepted, kDuplicate };

  // `pool` must outlive the ledger.
  Ledger(const SlotTree& tree, int64_t elements, BufferPool& pool) : tree_(tree), elements_(elements), pool_(pool) {}

  // Takes the sum of `subtree`'s slots, `elements` little-endian floats. kDuplicate, and nothing changed, when all its
  // slots are there already. kInvalidArgument: INVALID_SUBTREE when the tree has no such node, SUBTREE_OVERLAPS when
  // only a part of its slots is there, PARAM_SHAPE_MISMATCH when the payload has another size.
  absl::StatusOr<Outcome> Offer(Subtree subtree, absl::string_view payload);

  bool complete() const;
  // The sum over all slots. Only when complete; valid until Reset.
  absl::Span<const float> sum() const { return nodes_.begin()->second.sum.span(); }
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
  using Nodes = std::map<uint32_t, Node>;  // Disjoint, by first slot.

  enum class Coverage { kNone, kPart, kAll };
  Coverage CoverageOf(uint32_t begin, uint32_t end) const;
  Nodes::iterator FindNode(Subtree subtree);
  // Merges the node with its sibling while that is there.
  void MergeUpwards(Nodes::iterator node);
  void Store(Subtree subtree, Buffer sum);

  const SlotTree tree_;
  const int64_t elements_;
  BufferPool& pool_;
  Nodes nodes_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_LEDGER_H_
