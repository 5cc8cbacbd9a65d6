#include "worker/train/slot_accumulator.h"

#include <algorithm>

namespace paramd {
namespace {

// left[i] += right[i]: in IEEE arithmetic the same bits whatever the vector width.
void AddInto(absl::Span<float> left, absl::Span<const float> right) {
  float* __restrict out = left.data();
  const float* __restrict in = right.data();
  for (size_t i = 0; i < left.size(); ++i) out[i] = out[i] + in[i];
}

}  // namespace

SlotAccumulator::SlotAccumulator(const ArenaPlan& plan, const SlotTree& tree, SlotRange slots, Result result,
                                 ArenaMemory& memory)
    : plan_(plan), tree_(tree), result_(result), memory_(memory) {
  SetSlots(slots);
}

void SlotAccumulator::SetSlots(SlotRange slots) {
  subtrees_ = tree_.Cover(slots.first, slots.count);
  slots_ = MakePlans(tree_, slots);
  const auto needed = static_cast<size_t>(BufferCount(tree_, slots));
  while (buffers_.size() < needed) buffers_.push_back(memory_.Allocate(plan_.arena_elements()));
}

std::vector<SlotAccumulator::SlotPlan> SlotAccumulator::MakePlans(const SlotTree& tree, SlotRange slots) {
  // Play the pushes of leaves and the merges of siblings once: they are the same for every chunk and step.
  std::vector<SlotPlan> plans;
  std::vector<Subtree> stack;
  for (uint32_t i = 0; i < slots.count; ++i) {
    SlotPlan slot = {.buffer = static_cast<int>(stack.size())};
    stack.push_back(tree.Canonical({.first_slot = slots.first + i, .log2_size = 0}));
    while (stack.size() > 1 && stack.back() != tree.Root() && tree.Sibling(stack.back()) == stack[stack.size() - 2]) {
      const Subtree parent = tree.Parent(stack.back());
      stack.pop_back();
      stack.back() = parent;
      ++slot.merges;
    }
    plans.push_back(slot);
  }
  return plans;
}

int SlotAccumulator::BufferCount(const SlotTree& tree, SlotRange slots) {
  int highest = 0;
  for (const SlotPlan& slot : MakePlans(tree, slots)) highest = std::max(highest, slot.buffer);
  return highest + 1;
}

absl::Span<float> SlotAccumulator::BeginSlot(uint32_t i) {
  current_ = i;
  return buffers_[slots_[i].buffer];
}

bool SlotAccumulator::ChunkFinal(int chunk) {
  const ElementRange range = plan_.ChunkRange(chunk);
  const auto part = [&](int buffer) { return buffers_[buffer].subspan(range.begin, range.size()); };
  int top = slots_[current_].buffer;
  for (int merge = 0; merge < slots_[current_].merges; ++merge, --top) AddInto(part(top - 1), part(top));
  if (current_ + 1 < slots_.size()) return false;
  if (result_ == Result::kTotal) {
    for (size_t i = 1; i < subtrees_.size(); ++i) AddInto(part(0), part(static_cast<int>(i)));
  }
  return true;
}

absl::Span<const float> SlotAccumulator::Payload(int chunk, int payload) const {
  const ElementRange range = plan_.ChunkRange(chunk);
  return buffers_[payload].subspan(range.begin, range.size());
}

absl::Span<float> SlotAccumulator::MutablePayload(int chunk, int payload) {
  const ElementRange range = plan_.ChunkRange(chunk);
  return buffers_[payload].subspan(range.begin, range.size());
}

int64_t SlotAccumulator::memory_bytes() const {
  return static_cast<int64_t>(buffers_.size()) * plan_.arena_elements() * static_cast<int64_t>(sizeof(float));
}

}  // namespace paramd
