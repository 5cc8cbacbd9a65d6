#include "common/trace/trace_recorder.h"

#include <algorithm>
#include <limits>
#include <thread>
#include <utility>

namespace paramd {

void TraceRecorder::Record(const TraceEntry& entry) {
  if (!on()) return;
  writers_.fetch_add(1, std::memory_order_seq_cst);
  if (state_.load(std::memory_order_seq_cst) == State::kRecording && entry.step >= first_step_ &&
      entry.step < end_step_) {
    const size_t slot = next_slot_.fetch_add(1, std::memory_order_relaxed);
    if (slot < capacity_) slots_[slot] = entry;
  }
  writers_.fetch_sub(1, std::memory_order_seq_cst);
}

void TraceRecorder::Arm(const TraceRequest& request, Done done) {
  Finished earlier;
  Finished empty;
  {
    absl::MutexLock lock(&mutex_);
    const State state = state_.load(std::memory_order_relaxed);
    const bool busy = state == State::kArmed || state == State::kRecording;
    if (busy && request_.id == request.id) return;
    if (busy) earlier = Close(State::kIdle);
    request_ = request;
    done_ = std::move(done);
    if (state == State::kEnded) {
      empty = Close(State::kEnded);
    } else {
      slots_ = std::make_unique<TraceEntry[]>(capacity_);  // Here: the step that it begins with must not pay for it.
      state_.store(State::kArmed, std::memory_order_relaxed);
    }
  }
  earlier.Report();
  empty.Report();
}

void TraceRecorder::Open(uint64_t step) {
  absl::MutexLock lock(&mutex_);
  if (state_.load(std::memory_order_relaxed) != State::kArmed) return;
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  first_step_ = request_.any_step ? 0 : step;
  end_step_ = request_.any_step || request_.steps > kLast - step ? kLast : step + request_.steps;
  next_slot_.store(0, std::memory_order_relaxed);
  anchor_ = TakeTraceAnchor();
  state_.store(State::kRecording, std::memory_order_seq_cst);
}

void TraceRecorder::CloseAfter(uint64_t step) {
  Finished finished;
  {
    absl::MutexLock lock(&mutex_);
    if (!on() || request_.any_step || step + 1 < end_step_) return;
    finished = Close(State::kIdle);
  }
  finished.Report();
}

void TraceRecorder::CloseComplete() {
  Finished finished;
  {
    absl::MutexLock lock(&mutex_);
    if (!on()) return;
    finished = Close(State::kIdle);
  }
  finished.Report();
}

void TraceRecorder::End() {
  Finished finished;
  {
    absl::MutexLock lock(&mutex_);
    finished = Close(State::kEnded);
  }
  finished.Report();
}

TraceRecorder::Finished TraceRecorder::Close(State next) {
  const State before = state_.exchange(next, std::memory_order_seq_cst);
  while (writers_.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
  Finished finished = {.trace = {.id = request_.id}, .done = std::exchange(done_, nullptr)};
  const std::unique_ptr<TraceEntry[]> slots = std::move(slots_);
  if (before != State::kRecording) return finished;
  const size_t recorded = next_slot_.load(std::memory_order_relaxed);
  finished.trace.truncated = recorded > capacity_;
  finished.trace.entries.assign(slots.get(), slots.get() + std::min(recorded, capacity_));
  finished.trace.anchor = anchor_;
  std::sort(finished.trace.entries.begin(), finished.trace.entries.end(),
            [](const TraceEntry& a, const TraceEntry& b) { return a.start_ns < b.start_ns; });
  return finished;
}

}  // namespace paramd
