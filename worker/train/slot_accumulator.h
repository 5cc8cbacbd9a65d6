// Gradients of a worker's slots, added up in the order of the slot tree, chunk by chunk.
//
// The worker computes its slots in ascending order. Before each slot it takes a buffer for the slot's gradient;
// whenever a chunk of that gradient is final it says so, and the chunk is merged with what the tree joins it with: left
// + right in fp32, never in another order. After the last slot a chunk's payloads are the sums of the canonical
// subtrees that cover the worker's slots.
//
//   SlotAccumulator sums(plan, SlotTree(8), {.first = 2, .count = 3}, SlotAccumulator::Result::kSubtrees, memory);
//   for (uint32_t i = 0; i < 3; ++i) {
//     ForwardBackward(..., sums.BeginSlot(i), ...);           // Calls sums.ChunkFinal(chunk) for each chunk once.
//   }
//   for (int s = 0; s < sums.payload_count(); ++s) Push(sums.subtrees()[s], sums.Payload(chunk, s));
//
// Memory: at most log2(slots) + 2 arenas, of an ArenaMemory that outlives it. Not thread safe. Payloads stay as they
// are until the chunk's first slot of the next step is written.
#ifndef PARAMD_WORKER_TRAIN_SLOT_ACCUMULATOR_H_
#define PARAMD_WORKER_TRAIN_SLOT_ACCUMULATOR_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "common/partition/chunk_map.h"
#include "common/partition/slot_tree.h"
#include "worker/train/arena_memory.h"

namespace paramd {

class SlotAccumulator {
 public:
  enum class Result {
    kSubtrees,  // sync: one payload per subtree of the cover.
    kTotal,     // ssp, async: one payload, the subtrees' sum from left to right.
  };

  // slots.first + slots.count <= tree.slots(). No slots: a worker that has none yet.
  SlotAccumulator(const ArenaPlan& plan, const SlotTree& tree, SlotRange slots, Result result, ArenaMemory& memory);

  // Between two steps: from now on these are the worker's slots. Takes more memory only if they need more buffers.
  void SetSlots(SlotRange slots);

  // How many arenas it takes.
  static int BufferCount(const SlotTree& tree, SlotRange slots);

  // Starts local slot `i` (0 .. slot_count - 1, ascending, again from 0 each step): where its gradient goes,
  // arena_elements.
  absl::Span<float> BeginSlot(uint32_t i);
  // The gradient of `chunk` in the current slot is final. True when this was its last slot: its payloads are ready.
  bool ChunkFinal(int chunk);

  // The canonical cover of the worker's slots, ascending. kTotal has the same cover, but one payload.
  const std::vector<Subtree>& subtrees() const { return subtrees_; }
  int payload_count() const { return result_ == Result::kTotal ? 1 : static_cast<int>(subtrees_.size()); }
  absl::Span<const float> Payload(int chunk, int payload) const;
  // The same to change in place (clipping).
  absl::Span<float> MutablePayload(int chunk, int payload);

  int64_t memory_bytes() const;

 private:
  // What happens to each chunk after a slot: its buffer, then `merges` times the topmost buffer is added to the one
  // below.
  struct SlotPlan {
    int buffer = 0;
    int merges = 0;
  };
  static std::vector<SlotPlan> MakePlans(const SlotTree& tree, SlotRange slots);

  const ArenaPlan& plan_;
  const SlotTree tree_;
  const Result result_;
  ArenaMemory& memory_;
  std::vector<Subtree> subtrees_;
  std::vector<SlotPlan> slots_;
  std::vector<absl::Span<float>> buffers_;  // A stack of arenas: [0] holds the leftmost subtree.
  uint32_t current_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_SLOT_ACCUMULATOR_H_
