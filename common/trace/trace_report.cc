#include "common/trace/trace_report.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace paramd {
namespace {

constexpr int64_t kMaxPrefixBytes = 6;  // A span's tag and length in the report.

v1::TraceSpan ToSpan(const TraceEntry& entry, const TraceAnchor& anchor) {
  v1::TraceSpan span;
  span.set_lane(entry.lane.index < 0 ? entry.lane.text : absl::StrCat(entry.lane.text, " ", entry.lane.index));
  span.set_name(entry.name);
  const int64_t start_us = anchor.ToUnixMicros(entry.start_ns);
  span.set_start_us(start_us);
  // Both ends are rounded down, so that spans which touch still do, and those which do not overlap still do not.
  span.set_duration_us(std::max<int64_t>(0, anchor.ToUnixMicros(entry.end_ns) - start_us));
  span.set_step(entry.step);
  if (entry.chunk >= 0) span.set_chunk(static_cast<uint32_t>(entry.chunk));
  return span;
}

}  // namespace

v1::TraceReport ToTraceReport(const Trace& trace, int64_t max_bytes) {
  v1::TraceReport report;
  report.set_trace(trace.id);
  report.set_truncated(trace.truncated);
  int64_t bytes = 0;
  for (const TraceEntry& entry : trace.entries) {
    v1::TraceSpan span = ToSpan(entry, trace.anchor);
    bytes += static_cast<int64_t>(span.ByteSizeLong()) + kMaxPrefixBytes;
    if (bytes > max_bytes) {
      report.set_truncated(true);
      break;
    }
    *report.add_spans() = std::move(span);
  }
  return report;
}

}  // namespace paramd
