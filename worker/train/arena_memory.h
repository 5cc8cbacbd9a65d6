// Memory for arenas: in a segment that servers on this host may map while it has room, otherwise on the heap.
//
//   auto memory = std::make_shared<ArenaMemory>(segment);         // or without: all on the heap
//   absl::Span<float> gradients = memory->Allocate(plan.arena_elements());
//
// The memory lives as long as the object, which is shared because messages in flight point into it. Not thread safe.
#ifndef PARAMD_WORKER_TRAIN_ARENA_MEMORY_H_
#define PARAMD_WORKER_TRAIN_ARENA_MEMORY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/base/shared_memory.h"

namespace paramd {

class ArenaMemory {
 public:
  explicit ArenaMemory(std::shared_ptr<SharedSegment> segment = nullptr);

  // Zeros, aligned to 64 bytes at least.
  absl::Span<float> Allocate(int64_t elements);
  // Handed out.
  int64_t bytes() const { return bytes_; }

  // What Allocate(elements) takes of a segment at most.
  static size_t SharedBytes(int64_t elements);

 private:
  struct Free {
    void operator()(float* memory) const;
  };

  const std::shared_ptr<SharedSegment> segment_;
  std::vector<std::unique_ptr<float, Free>> heap_;
  int64_t bytes_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_ARENA_MEMORY_H_
