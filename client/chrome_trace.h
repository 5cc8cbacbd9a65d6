// A job's trace as the trace event JSON that https://ui.perfetto.dev and chrome://tracing load.
//
//   WriteChromeTrace(job_id, response, environment.out);
//
// Every node is a process and every lane a thread of it, with their names as metadata; every span is a complete event
// ("ph":"X") with times in microseconds since the first span and its step and chunk as arguments. Viewers want the
// events of a thread nested or apart: where spans of a lane overlap ("wire"), the lane becomes several threads, "wire
// 1" and so on, each span on the first that is free.
//
// Format: "Trace Event Format", Google, JSON object form. Pure; thread safe.
#ifndef PARAMD_CLIENT_CHROME_TRACE_H_
#define PARAMD_CLIENT_CHROME_TRACE_H_

#include <ostream>
#include <string>

#include "proto/job.pb.h"

namespace paramd {

// One event per line, a newline at the end.
void WriteChromeTrace(const std::string& job_id, const v1::TraceJobResponse& trace, std::ostream& out);

}  // namespace paramd

#endif  // PARAMD_CLIENT_CHROME_TRACE_H_
