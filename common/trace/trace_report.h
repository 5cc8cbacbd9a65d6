// A node's trace as it is sent to the coordinator.
//
//   recorder.Arm({.id = command.trace(), .steps = command.steps()}, [this](Trace trace) {
//     v1::JobReport report;
//     *report.mutable_trace() = ToTraceReport(trace);
//     ...
//   });
//
// Pure; thread safe.
#ifndef PARAMD_COMMON_TRACE_TRACE_REPORT_H_
#define PARAMD_COMMON_TRACE_TRACE_REPORT_H_

#include <cstdint>

#include "common/trace/trace_recorder.h"
#include "proto/cluster.pb.h"

namespace paramd {

// Fits, with the messages around it, into the 4 MiB that a message of a session may have (common/rpc/channel.h).
inline constexpr int64_t kMaxTraceReportBytes = int64_t{3} << 20;

// The spans without node_id, which the coordinator knows: in all at most `max_bytes` as encoded. What starts last goes
// first, and the report says that it is truncated.
v1::TraceReport ToTraceReport(const Trace& trace, int64_t max_bytes = kMaxTraceReportBytes);

}  // namespace paramd

#endif  // PARAMD_COMMON_TRACE_TRACE_REPORT_H_
