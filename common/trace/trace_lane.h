// A lane of one thread whose spans lie one behind the other: what the thread is doing now, and interruptions of it.
//
//   TraceLane lane(&recorder, {"compute"});
//   lane.Switch("forward", step);                 // ends what went before
//   const int64_t since = lane.Now();
//   ... lane.Interrupt("wait", chunk, since);     // it has waited since then: "forward" is split in two
//   lane.Switch("backward", step);
//   lane.Stop();
//
// Costs a relaxed load per call while nothing is recorded. One thread. Borrows the recorder; without
// one nothing is recorded.
#ifndef PARAMD_COMMON_TRACE_TRACE_LANE_H_
#define PARAMD_COMMON_TRACE_TRACE_LANE_H_

#include <cstdint>

#include "common/trace/trace_recorder.h"

namespace paramd {

class TraceLane {
 public:
  TraceLane(TraceRecorder* recorder, TraceLaneName name) : recorder_(recorder), name_(name) {}

  // Waits and other interruptions below this are not worth a span.
  static constexpr int64_t kShortNanos = 2'000;

  bool on() const { return TraceOn(recorder_); }
  // The time, 0 when nothing is recorded.
  int64_t Now() const { return on() ? TraceClockNanos() : 0; }
  // The thread does `what` from now on.
  void Switch(const char* what, uint64_t step);
  // From `since_ns`, a value of Now, until now the thread did `what` instead; it goes on with what it did before.
  void Interrupt(const char* what, int chunk, int64_t since_ns);
  // The thread does nothing from now on.
  void Stop();

 private:
  // Records [open_.start_ns, until_ns) as what is open.
  void Flush(int64_t until_ns);

  TraceRecorder* const recorder_;
  const TraceLaneName name_;
  TraceEntry open_;
  bool is_open_ = false;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_TRACE_TRACE_LANE_H_
