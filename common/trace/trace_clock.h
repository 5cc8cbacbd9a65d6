// The clock of traces: advances steadily within a node, and is tied to the Unix epoch so that the spans of different
// nodes lie beside each other.
//
//   const TraceAnchor anchor = TakeTraceAnchor();        // once per trace
//   const int64_t start = TraceClockNanos();             // per span
//   span.set_start_us(anchor.ToUnixMicros(start));
//
// Error: within a node spans are ordered and measured by CLOCK_MONOTONIC, which never jumps; one anchor places all of a
// trace, so that a wall clock that is set meanwhile moves nothing. Between nodes the error is that of their wall clocks
// against each other (none on one host, usually below a millisecond under NTP or chrony, a few microseconds under PTP)
// plus each anchor's own error_ns, well below a microsecond. Thread safe.
#ifndef PARAMD_COMMON_TRACE_TRACE_CLOCK_H_
#define PARAMD_COMMON_TRACE_TRACE_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace paramd {

// Nanoseconds since an arbitrary moment of this host; 20 to 30 ns a call.
inline int64_t TraceClockNanos() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Where the trace clock stood against the wall clock.
struct TraceAnchor {
  int64_t unix_offset_ns = 0;  // Wall clock minus trace clock.
  int64_t error_ns = 0;        // The offset is off by this much at most.

  int64_t ToUnixMicros(int64_t clock_ns) const { return (clock_ns + unix_offset_ns) / 1000; }
};

// The best of several readings of both clocks.
TraceAnchor TakeTraceAnchor();

}  // namespace paramd

#endif  // PARAMD_COMMON_TRACE_TRACE_CLOCK_H_
