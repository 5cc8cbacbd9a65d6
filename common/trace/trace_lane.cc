#include "common/trace/trace_lane.h"

namespace paramd {

void TraceLane::Switch(const char* what, uint64_t step) {
  const int64_t now_ns = Now();
  if (is_open_) Flush(now_ns);
  is_open_ = on();
  if (is_open_) open_ = {.lane = name_, .name = what, .start_ns = now_ns, .step = step};
}

void TraceLane::Interrupt(const char* what, int chunk, int64_t since_ns) {
  if (!is_open_ || since_ns == 0) return;
  const int64_t now_ns = TraceClockNanos();
  if (now_ns - since_ns < kShortNanos) return;
  Flush(since_ns);
  recorder_->Record(
      {.lane = name_, .name = what, .start_ns = since_ns, .end_ns = now_ns, .step = open_.step, .chunk = chunk});
  open_.start_ns = now_ns;
}

void TraceLane::Stop() {
  if (is_open_) Flush(TraceClockNanos());
  is_open_ = false;
}

void TraceLane::Flush(int64_t until_ns) {
  // Empty when the recording was switched on, or an interruption ended, at this very moment; 0 when it was switched
  // off.
  if (until_ns <= open_.start_ns) return;
  open_.end_ns = until_ns;
  recorder_->Record(open_);
}

}  // namespace paramd
