// Puts the traces of a job's nodes together: who has answered, which steps all of them have, what becomes the response.
//
//   TraceCollector collector({.trace = 7, .steps = 3, .nodes = nodes, .align = true});
//   Send(CollectTrace{.trace = 7, .steps = collector.steps_to_record()});
//   if (collector.Add(node, report) && collector.complete()) sink->Finish(collector.TakeResponse());
//
// Aligned (sync): the nodes start at their own next step, and the command reaches them at different moments of a step;
// so each is asked for some steps more, as many as may go by meanwhile, and what remains are the first `steps` steps
// that all have. Not aligned (ssp, async): workers are at different steps, all that came remains.
//
// What nodes send is not trusted: spans with odd values are dropped, and the response is bounded by max_bytes, of which
// every node gets the same share. A pure core; not thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_TRACE_COLLECTOR_H_
#define PARAMD_SERVER_COORDINATOR_TRACE_COLLECTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"
#include "server/coordinator/job_machine.h"

namespace paramd {

// The call that waits for a trace. The coordinator calls it under its mutex, so it may not block or call back.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  // The last call.
  virtual void Finish(absl::StatusOr<v1::TraceJobResponse> response) = 0;
};

struct TraceCollectorOptions {
  uint64_t trace = 0;  // Names it among the nodes.
  uint32_t steps = 1;
  std::vector<NodeRef> nodes;  // In the order of the response.
  bool align = true;
  uint32_t spare_steps = 1;               // Recorded on top, when aligned.
  int64_t max_bytes = int64_t{12} << 20;  // Of the response; clients take 16 MiB.
};

// The steps that go by while a command is on its way to the last node of a job, at the job's mean speed: 1..16.
uint32_t SpareTraceSteps(const v1::JobProgress& progress);

class TraceCollector {
 public:
  explicit TraceCollector(TraceCollectorOptions options);

  uint64_t trace() const { return options_.trace; }
  uint32_t steps_to_record() const { return options_.steps + (options_.align ? options_.spare_steps : 0); }

  // False for strangers, other traces and repetitions: nothing happens.
  bool Add(const NodeRef& node, const v1::TraceReport& report);
  // Whether `node` is one of the trace's and has not answered.
  bool awaits(const NodeRef& node) const;
  // All nodes have answered.
  bool complete() const;
  // "server s0, worker w1": who has not.
  std::string Missing() const;
  // Some node has sent spans.
  bool has_spans() const;
  // What has come; truncated when a node is missing or has dropped spans, or a worker has fewer steps. Once.
  v1::TraceJobResponse TakeResponse();

 private:
  struct Part {
    NodeRef node;
    bool answered = false;
    bool truncated = false;
    std::vector<v1::TraceSpan> spans;  // By start.
  };
  struct StepRange {
    uint64_t first = 0;
    uint64_t last = 0;
    bool Contains(uint64_t step) const { return first <= step && step <= last; }
  };

  Part* Find(const NodeRef& node);
  // The steps to keep; all when there are none that all nodes with spans have.
  StepRange StepsToKeep() const;
  // A worker with fewer steps than asked for.
  bool IsShort(const Part& part, const StepRange& keep) const;

  const TraceCollectorOptions options_;
  std::vector<Part> parts_;  // As options_.nodes.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TRACE_COLLECTOR_H_
