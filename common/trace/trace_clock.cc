#include "common/trace/trace_clock.h"

#include <limits>

namespace paramd {
namespace {

// One reading in some thousand is torn apart by a context switch; so many in a row are not.
constexpr int kReadings = 8;

int64_t WallNanos() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

TraceAnchor TakeTraceAnchor() {
  TraceAnchor best = {.error_ns = std::numeric_limits<int64_t>::max()};
  for (int i = 0; i < kReadings; ++i) {
    const int64_t before = TraceClockNanos();
    const int64_t wall = WallNanos();
    const int64_t after = TraceClockNanos();
    const int64_t error = (after - before + 1) / 2;  // The wall clock was read somewhere between the two.
    if (error < best.error_ns) best = {.unix_offset_ns = wall - (before + (after - before) / 2), .error_ns = error};
  }
  return best;
}

}  // namespace paramd
