#include "worker/train/slot_assignment.h"

namespace paramd {

void SlotAssignment::Apply(const WorkerChange& change, uint64_t next_step) {
  entries_.resize(1);  // What was still to come is superseded.
  if (!synchronous_) {
    entries_.push_back({next_step, change.part});
    return;
  }
  // In the open step the worker is still what it was, with the slots it had.
  WorkerPart open = part();
  open.slots = change.own;
  entries_.push_back({change.step, open});
  entries_.push_back({change.step + 1, change.part});
  if (change.step != inherited_step_) done_.clear();
  inherited_step_ = change.step;
  inherited_.clear();
  for (const SlotRange& range : change.inherited) {
    for (uint32_t slot = range.first; slot < range.first + range.count; ++slot) inherited_.insert(slot);
  }
}

void SlotAssignment::Enter(uint64_t step) {
  while (entries_.size() > 1 && entries_[1].from_step <= step) entries_.erase(entries_.begin());
}

std::optional<uint32_t> SlotAssignment::NextInherited(uint64_t step) const {
  if (step != inherited_step_) return std::nullopt;
  for (uint32_t slot : inherited_) {
    if (!done_.contains(slot)) return slot;
  }
  return std::nullopt;
}

void SlotAssignment::Done(uint64_t step, uint32_t slot) {
  if (step == inherited_step_) done_.insert(slot);
}

}  // namespace paramd
