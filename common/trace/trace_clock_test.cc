#include "common/trace/trace_clock.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(TraceClockTest, AdvancesAndIsAnchoredToTheUnixEpoch) {
  const int64_t first = TraceClockNanos();
  EXPECT_GE(TraceClockNanos(), first);
  const TraceAnchor anchor = TakeTraceAnchor();
  EXPECT_GE(anchor.error_ns, 0);
  EXPECT_LT(anchor.error_ns, 1'000'000);
  const int64_t before = absl::ToUnixMicros(absl::Now());
  const int64_t now = anchor.ToUnixMicros(TraceClockNanos());
  const int64_t after = absl::ToUnixMicros(absl::Now());
  // absl::Now is itself off by some microseconds between its readings of the system's clock.
  const int64_t tolerance = anchor.error_ns / 1000 + 1000;
  EXPECT_GE(now, before - tolerance);
  EXPECT_LE(now, after + tolerance);
}

TEST(TraceClockTest, AnchorMovesEveryTimeBySameAmount) {
  const TraceAnchor anchor = {.unix_offset_ns = 5'000'000'000, .error_ns = 10};
  EXPECT_EQ(anchor.ToUnixMicros(0), 5'000'000);
  EXPECT_EQ(anchor.ToUnixMicros(1'999), 5'000'001);
}

}  // namespace
}  // namespace paramd
