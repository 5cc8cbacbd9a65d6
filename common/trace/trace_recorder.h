// Records what a node does for a job during some of its steps. One recorder per job and node.
//
//   TraceRecorder recorder;
//   recorder.Arm({.id = 7, .steps = 3}, [](Trace trace) { ... });   // any thread; returns at once
//
//   recorder.BeginStep(step);                        // the step loop: the first step after Arm starts the recording
//   { TraceScope scope(&recorder, {"owner", 2}, "apply", step, chunk); ... }
//   recorder.EndStep(step);                          // all spans of `step` are recorded; the last one ends the trace
//
// Cost: while nothing is recorded, a span costs one relaxed load of an atomic. While something is, recording a span is
// wait-free: two atomic additions and a copy into a slot of its own. Ending a trace waits for the spans being copied at
// that moment, which is nanoseconds unless a thread is descheduled in between.
//
// Bounded: a trace keeps the first `capacity` spans and says that it is truncated when there were more; its memory
// lives from Arm to the end. At most one trace at a time: arming another ends the present one with what it has.
//
// Thread safe. `done` is called exactly once per Arm, on the thread that ends the trace, with no lock held.
#ifndef PARAMD_COMMON_TRACE_TRACE_RECORDER_H_
#define PARAMD_COMMON_TRACE_TRACE_RECORDER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/trace/trace_clock.h"

namespace paramd {

// What a span runs on: "wire", or "owner 3".
struct TraceLaneName {
  const char* text = "";  // A literal.
  int index = -1;         // Negative: none.
};

// Something the node did for a time. All text is literals.
struct TraceEntry {
  TraceLaneName lane;
  const char* name = "";
  int64_t start_ns = 0;  // Of TraceClockNanos.
  int64_t end_ns = 0;
  uint64_t step = 0;
  int chunk = -1;  // Negative: of no chunk.
};

struct TraceRequest {
  uint64_t id = 0;
  uint64_t steps = 1;
  // Takes spans of whatever step until Complete: for one who serves workers that are at different steps.
  bool any_step = false;
};

struct Trace {
  uint64_t id = 0;
  std::vector<TraceEntry> entries;  // By start.
  TraceAnchor anchor;
  bool truncated = false;  // There were more spans than are kept.
};

class TraceRecorder {
 public:
  static constexpr size_t kDefaultCapacity = 65536;
  using Done = std::function<void(Trace trace)>;

  explicit TraceRecorder(size_t capacity = kDefaultCapacity) : capacity_(capacity) {}
  ~TraceRecorder() { End(); }
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;

  // Records the next steps, and then calls `done`. The id of the present trace again is ignored, `done` with it: the
  // request was repeated. After End: an empty trace at once.
  void Arm(const TraceRequest& request, Done done);

  // Whether Record takes anything.
  bool on() const { return state_.load(std::memory_order_relaxed) == State::kRecording; }
  void Record(const TraceEntry& entry);

  // `step` begins. A relaxed load unless a trace is armed.
  void BeginStep(uint64_t step) {
    if (state_.load(std::memory_order_relaxed) == State::kArmed) Open(step);
  }
  // All spans of `step` and of earlier steps are recorded. A relaxed load unless something is recorded.
  void EndStep(uint64_t step) {
    if (on()) CloseAfter(step);
  }
  // What was asked for is recorded. A relaxed load unless something is recorded.
  void Complete() {
    if (on()) CloseComplete();
  }
  // No step comes any more: the present trace ends with what it has, later ones at once. Idempotent.
  void End();

 private:
  enum class State { kIdle, kArmed, kRecording, kEnded };

  // A trace that is over and whom to tell.
  struct Finished {
    Trace trace;
    Done done;
    void Report() {
      if (done) done(std::move(trace));
    }
  };

  void Open(uint64_t step);
  void CloseAfter(uint64_t step);
  void CloseComplete();
  // Ends the present trace, if any, and goes to `next`.
  Finished Close(State next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t capacity_;

  absl::Mutex mutex_;
  TraceRequest request_ ABSL_GUARDED_BY(mutex_);
  Done done_ ABSL_GUARDED_BY(mutex_);
  TraceAnchor anchor_ ABSL_GUARDED_BY(mutex_);

  // Written under the mutex. Who records counts itself in `writers_` and then looks at the state; who ends the trace
  // changes the state and then waits until nobody is counted: one of them sees the other (all four sequentially
  // consistent), so that the slots are never touched by both.
  std::atomic<State> state_ = State::kIdle;
  std::atomic<int64_t> writers_ = 0;
  std::atomic<size_t> next_slot_ = 0;
  // Constant while recording.
  uint64_t first_step_ = 0;
  uint64_t end_step_ = 0;
  std::unique_ptr<TraceEntry[]> slots_;
};

// Whether to take the times of spans; a null recorder records nothing.
inline bool TraceOn(const TraceRecorder* recorder) { return recorder != nullptr && recorder->on(); }

// Records the time from its making to its end as one span, if something is being recorded at its making.
class TraceScope {
 public:
  TraceScope(TraceRecorder* recorder, TraceLaneName lane, const char* name, uint64_t step, int chunk = -1)
      : recorder_(TraceOn(recorder) ? recorder : nullptr) {
    if (recorder_ != nullptr) {
      entry_ = {.lane = lane, .name = name, .start_ns = TraceClockNanos(), .step = step, .chunk = chunk};
    }
  }
  ~TraceScope() {
    if (recorder_ == nullptr) return;
    entry_.end_ns = TraceClockNanos();
    recorder_->Record(entry_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

  // What it turned out to be.
  void Rename(const char* name) { entry_.name = name; }

 private:
  TraceRecorder* const recorder_;
  TraceEntry entry_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_TRACE_TRACE_RECORDER_H_
