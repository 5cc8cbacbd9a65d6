#include "server/service/job_trace.h"

#include <algorithm>

namespace paramd {

void JobTrace::Collect(TraceRequest request, TraceRecorder::Done done) {
  if (options_.chunks.empty()) return done({.id = request.id});
  const uint64_t steps = request.steps;
  request.any_step = true;  // Which steps they are is known later than their first spans come.
  recorder_.Arm(request, [this, done = std::move(done)](Trace trace) {
    Trim(trace);
    done(std::move(trace));
  });
  {
    absl::MutexLock lock(&mutex_);  // After Arm, which ends an earlier trace with its window.
    window_ = {.steps = steps};
    window_.unknown.insert(options_.chunks.begin(), options_.chunks.end());
  }
  recorder_.BeginStep(0);
}

void JobTrace::OnChunk(int chunk, uint64_t clock) {
  {
    absl::MutexLock lock(&mutex_);
    if (window_.unknown.erase(chunk) == 0) return;
    window_.clocks[chunk] = clock;
    window_.oldest = std::min(window_.oldest, clock);
    if (!window_.unknown.empty()) return;
    window_.first = options_.synchronous ? window_.oldest + 1 : window_.oldest;
    window_.end = std::min(options_.steps, window_.first + window_.steps);
    if (!Past()) return;
  }
  recorder_.Complete();
}

void JobTrace::Advance(int chunk, uint64_t clock) {
  {
    absl::MutexLock lock(&mutex_);
    window_.clocks[chunk] = clock;
    if (clock < window_.end || !window_.unknown.empty() || !Past()) return;
  }
  recorder_.Complete();
}

bool JobTrace::Past() const {
  return window_.first >= window_.end || std::all_of(window_.clocks.begin(), window_.clocks.end(),
                                                     [&](const auto& entry) { return entry.second >= window_.end; });
}

void JobTrace::Trim(Trace& trace) {
  if (!options_.synchronous) return;
  absl::MutexLock lock(&mutex_);
  std::erase_if(trace.entries,
                [&](const TraceEntry& entry) { return entry.step < window_.first || entry.step >= window_.end; });
}

}  // namespace paramd
