// Keeps a job's local chunks as they are at one step boundary, while the job goes on.
//
//   capture.Begin(100, [](absl::StatusOr<std::vector<ChunkCapture>> captured) { ... });   // Any thread.
//   for each chunk, on its thread:  capture.Offer(chunk);         // Once after Begin, and whenever it has a new
//   version.
//
// sync: a chunk is captured when its version is the step; kOutOfRange CHECKPOINT_MISSED, with the metadata "version",
// when it is beyond. ssp, async: when the pushes of all workers up to the step are in it; it may contain later ones.
// `done` runs once, on the thread that offered the last chunk, or not at all when another capture begins or Cancel
// comes before. Thread safe; while nothing is wanted, `wanted` is one relaxed load.
#ifndef PARAMD_SERVER_SERVICE_CHECKPOINT_CAPTURE_H_
#define PARAMD_SERVER_SERVICE_CHECKPOINT_CAPTURE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/store/chunk.h"
#include "server/store/chunk_capture.h"

namespace paramd {

class CheckpointCapture {
 public:
  using Done = std::function<void(absl::StatusOr<std::vector<ChunkCapture>> captured)>;

  // Of `chunks` chunks, at least one.
  CheckpointCapture(size_t chunks, bool synchronous) : chunks_(chunks), synchronous_(synchronous) {}

  void Begin(uint64_t step, Done done);
  void Cancel();
  bool wanted() const { return wanted_.load(std::memory_order_relaxed); }
  void Offer(const Chunk& chunk);

 private:
  struct Wanted {
    uint64_t number = 0;  // Of the capture.
    uint64_t step = 0;
    Done done;
    std::set<int> begun;  // Chunks.
    std::vector<ChunkCapture> captured;
  };

  const size_t chunks_;
  const bool synchronous_;
  std::atomic<bool> wanted_ = false;
  absl::Mutex mutex_;
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<Wanted> capture_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_CHECKPOINT_CAPTURE_H_
