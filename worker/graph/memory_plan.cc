#include "worker/graph/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace paramd {
namespace {

constexpr int64_t kAlignmentElements = 16;

bool Overlap(const TensorLifetime& a, const TensorLifetime& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

int64_t RoundUp(int64_t elements) {
  return (elements + kAlignmentElements - 1) / kAlignmentElements * kAlignmentElements;
}

// The lowest offset for `tensor` among `placed` (indices sorted by offset).
int64_t LowestOffset(absl::Span<const TensorLifetime> tensors, const std::vector<int64_t>& offsets,
                     const std::vector<int>& placed, int tensor) {
  int64_t offset = 0;
  for (int other : placed) {
    if (!Overlap(tensors[tensor], tensors[other])) continue;
    if (offsets[other] - offset >= tensors[tensor].elements) break;
    offset = std::max(offset, offsets[other] + RoundUp(tensors[other].elements));
  }
  return offset;
}

}  // namespace

MemoryPlan PlanMemory(absl::Span<const TensorLifetime> tensors) {
  MemoryPlan plan;
  plan.offsets.assign(tensors.size(), 0);
  std::vector<int> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return tensors[a].elements > tensors[b].elements; });
  std::vector<int> placed;
  for (int tensor : order) {
    if (tensors[tensor].elements == 0 || tensors[tensor].last_step < tensors[tensor].first_step) continue;
    const int64_t offset = LowestOffset(tensors, plan.offsets, placed, tensor);
    plan.offsets[tensor] = offset;
    plan.elements = std::max(plan.elements, offset + RoundUp(tensors[tensor].elements));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](int64_t at, int other) { return at < plan.offsets[other]; }),
                  tensor);
  }
  return plan;
}

}  // namespace paramd
