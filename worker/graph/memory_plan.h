// Puts tensors with known lifetimes into one block of memory, so that tensors that live at the same time do not
// overlap.
//
//   MemoryPlan plan = PlanMemory({{.elements = 100, .first_step = 0, .last_step = 2}, ...});
//   float* tensor = block + plan.offsets[0];
//
// Greedy by size (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020): the largest
// tensor first, each at the lowest offset where it fits. Pure and thread safe.
#ifndef PARAMD_WORKER_GRAPH_MEMORY_PLAN_H_
#define PARAMD_WORKER_GRAPH_MEMORY_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace paramd {

struct TensorLifetime {
  int64_t elements = 0;
  int first_step = 0;
  int last_step = -1;  // Inclusive; before first_step: never used, takes no room.
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // In elements, multiples of 16 (64 bytes); one per tensor.
  int64_t elements = 0;          // Of the whole block.
};

MemoryPlan PlanMemory(absl::Span<const TensorLifetime> tensors);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_MEMORY_PLAN_H_
