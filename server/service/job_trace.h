// What a server records of a job: its recorder, and which steps a trace takes.
//
//   trace.Collect({.id = 7, .steps = 3}, done);              // any thread
//   trace.OnChunk(chunk->index(), chunk->slowest_clock());   // then once for each local chunk, on its owner thread
//   { TraceScope scope(&trace.recorder(), {"owner", 0}, "apply", step, chunk); ... }
//   trace.OnApplied(chunk->index(), chunk->slowest_clock());
//
// sync: the first step is the one after the oldest that is open on any chunk at its OnChunk. Nobody has pushed to that
// step before Collect, since workers push to it only when the step before is applied on all chunks; so it is recorded
// as a whole. ssp, async: whatever is pushed until the slowest worker is `steps` clocks further on all chunks. A trace
// ends when all local chunks have applied its last step, or the job's.
//
// Thread safe, but Collect comes from one thread at a time. While nothing is recorded OnApplied costs a relaxed load.
#ifndef PARAMD_SERVER_SERVICE_JOB_TRACE_H_
#define PARAMD_SERVER_SERVICE_JOB_TRACE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "common/trace/trace_recorder.h"

namespace paramd {

struct JobTraceOptions {
  std::vector<int> chunks;  // On this server.
  uint64_t steps = 0;       // Of the job.
  bool synchronous = true;
};

class JobTrace {
 public:
  explicit JobTrace(JobTraceOptions options) : options_(std::move(options)) {}
  ~JobTrace() { End(); }

  TraceRecorder& recorder() { return recorder_; }
  // The time, 0 when nothing is recorded.
  int64_t Now() const { return recorder_.on() ? TraceClockNanos() : 0; }

  // Calls `done` once; at once when the server has no chunks. The caller sees to it that OnChunk comes for every chunk.
  void Collect(TraceRequest request, TraceRecorder::Done done);
  // Where a chunk stands.
  void OnChunk(int chunk, uint64_t clock);
  // The chunk has reached `clock`, and all spans of earlier steps on it are recorded.
  void OnApplied(int chunk, uint64_t clock) {
    if (recorder_.on()) Advance(chunk, clock);
  }
  // The job is over here.
  void End() { recorder_.End(); }

 private:
  // Of the trace at hand.
  struct Window {
    uint64_t steps = 0;  // Asked for.
    absl::flat_hash_set<int>
        unknown;                   // Chunks whose OnChunk has not come; until there are none, nothing below is final.
    uint64_t oldest = UINT64_MAX;  // Clock of those that have come.
    uint64_t first = 0;            // Steps first .. end - 1 are wanted.
    uint64_t end = UINT64_MAX;
    absl::flat_hash_map<int, uint64_t> clocks;  // Where the chunks are.
  };

  void Advance(int chunk, uint64_t clock);
  // Nothing that is wanted can come any more.
  bool Past() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Drops spans outside the window.
  void Trim(Trace& trace);

  const JobTraceOptions options_;
  absl::Mutex mutex_;
  Window window_ ABSL_GUARDED_BY(mutex_);
  TraceRecorder recorder_;  // Its end uses the above.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_JOB_TRACE_H_
