#include "common/partition/memory.h"

#include <algorithm>
#include <vector>

#include "common/partition/chunk_map.h"
#include "common/partition/slot_tree.h"

namespace paramd {
namespace {

// The most sums below `node` that are there while `node` itself is not: none of a node that is pushed as a whole, else
// those of both children, or one for a child that is there as a whole.
int MostWaiting(const SlotTree& tree, const std::vector<Subtree>& pushed, Subtree node) {
  if (std::find(pushed.begin(), pushed.end(), node) != pushed.end()) return 0;
  const Subtree left = tree.Canonical({node.first_slot, node.log2_size - 1});
  const int in_left = MostWaiting(tree, pushed, left), in_right = MostWaiting(tree, pushed, tree.Sibling(left));
  return std::max({1 + in_right, in_left + 1, in_left + in_right});
}

}  // namespace

int OptimizerStateCount(v1::OptimizerType type) {
  switch (type) {
    case v1::OPTIMIZER_TYPE_SGD:
      return 0;
    case v1::OPTIMIZER_TYPE_MOMENTUM:
    case v1::OPTIMIZER_TYPE_NESTEROV:
    case v1::OPTIMIZER_TYPE_ADAGRAD:
      return 1;
    default:  // RMSPROP, ADAM, ADAMW, and unset: the most there is.
      return 2;
  }
}

int LedgerSums(const v1::JobSpec& spec) {
  if (spec.sync().mode() != v1::SYNC_MODE_SYNC) return 0;
  const uint32_t slots = std::max<uint32_t>(1, spec.training().slots());
  const uint32_t workers = std::clamp<uint32_t>(spec.resources().workers(), 1, slots);
  const SlotTree tree(slots);
  std::vector<Subtree> pushed;
  for (const SlotRange& range : DealSlots(slots, workers)) {
    const std::vector<Subtree> cover = tree.Cover(range.first, range.count);
    pushed.insert(pushed.end(), cover.begin(), cover.end());
  }
  const bool waits_for_norm =
      spec.optimizer().clip_norm() > 0 || spec.optimizer().non_finite() == v1::NON_FINITE_POLICY_SKIP;
  return std::max(MostWaiting(tree, pushed, tree.Root()), waits_for_norm ? 1 : 0);
}

int64_t ServerBytesPerElement(const v1::JobSpec& spec) {
  const int64_t snapshot = 4 + (spec.communication().pull_codec() == v1::CODEC_BF16 ? 2 : 0);
  const int64_t states = OptimizerStateCount(spec.optimizer().type());
  // What a checkpoint holds on to until it is written.
  const int64_t checkpoint = spec.checkpoint().every_steps() > 0 ? 4 + 4 * states : 0;
  return 2 * snapshot + 4 * states + 4 * LedgerSums(spec) + checkpoint;
}

}  // namespace paramd
