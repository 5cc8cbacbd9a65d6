// Which slots a worker computes in which step, while the job's workers come and go: its own, which it sums up in tree
// order and pushes as few subtrees, and those it inherits from a worker that went during a step.
//
//   SlotAssignment slots(/*synchronous=*/true, {.worker_index = 0, .workers = 2, .slots = {0, 4}});
//   slots.Enter(step);                                  // slots.part().slots are to be computed
//   slots.Apply(change, step + 1);                      // the coordinator's news
//   while (auto slot = slots.NextInherited(step)) { ...; slots.Done(step, *slot); }
//
// A pure core; not thread safe.
#ifndef PARAMD_WORKER_TRAIN_SLOT_ASSIGNMENT_H_
#define PARAMD_WORKER_TRAIN_SLOT_ASSIGNMENT_H_

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "common/partition/chunk_map.h"

namespace paramd {

// A worker's place among the job's workers.
struct WorkerPart {
  uint32_t worker_index = 0;
  uint32_t workers = 1;
  SlotRange slots;  // May be empty for a worker that joins.
};

// A change of the job's workers, as one of them is told (v1::ChangeGeneration).
struct WorkerChange {
  WorkerPart part;    // sync: from step + 1 on.
  uint64_t step = 0;  // sync: the one that was open.
  SlotRange own;      // Of that step.
  std::vector<SlotRange> inherited;
  uint64_t first_clock = 0;  // ssp, async: where a worker begins that comes now.
};

class SlotAssignment {
 public:
  SlotAssignment(bool synchronous, const WorkerPart& part) : synchronous_(synchronous), entries_{{0, part}} {}

  // `next_step`: the first that is not yet begun: there the new part holds in ssp and async. Slots that were inherited
  // and done before stay done.
  void Apply(const WorkerChange& change, uint64_t next_step);
  // From now on part() is that of `step`, and what was before is forgotten. Steps do not go down.
  void Enter(uint64_t step);

  const WorkerPart& part() const { return entries_.front().part; }
  // The lowest slot of `step` that was inherited and is not done.
  std::optional<uint32_t> NextInherited(uint64_t step) const;
  void Done(uint64_t step, uint32_t slot);

 private:
  struct Entry {
    uint64_t from_step = 0;
    WorkerPart part;
  };

  const bool synchronous_;
  std::vector<Entry> entries_;  // Ascending; the first one holds now.
  uint64_t inherited_step_ = 0;
  std::set<uint32_t> inherited_;
  std::set<uint32_t> done_;  // Of inherited_step_.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_SLOT_ASSIGNMENT_H_
