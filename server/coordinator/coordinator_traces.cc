// The engine's side for traces: asks a job's nodes, waits for their answers, never longer than the caller.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/coordinator/coordinator.h"

namespace paramd {
namespace {

constexpr uint32_t kMaxSteps = 100;
constexpr absl::Duration kMaxTraceTimeout = absl::Minutes(30);
// What has come is answered so much before the caller's deadline; a tick is 100 ms.
constexpr absl::Duration kMinReserve = absl::Milliseconds(200);
constexpr absl::Duration kMaxReserve = absl::Seconds(1);
// After the last step nodes may still be on the way with their answers.
constexpr absl::Duration kLinger = absl::Seconds(1);

bool Trains(const v1::Job& job) {
  return job.state() == v1::JOB_STATE_RUNNING &&
         (job.phase() == v1::JOB_PHASE_TRAINING || job.phase() == v1::JOB_PHASE_STOPPING);
}

bool IsSynchronous(const v1::Job& job) {
  const v1::SyncMode mode = job.spec().sync().mode();
  return mode == v1::SYNC_MODE_SYNC || mode == v1::SYNC_MODE_UNSPECIFIED;
}

std::vector<NodeRef> NodesOf(const v1::Placement& placement) {
  std::vector<NodeRef> nodes;
  for (const v1::WorkerPlacement& worker : placement.workers()) {
    nodes.push_back({v1::NODE_ROLE_WORKER, worker.node_id(), worker.incarnation()});
  }
  for (const v1::ServerPlacement& server : placement.servers()) {
    nodes.push_back({v1::NODE_ROLE_SERVER, server.node_id(), server.incarnation()});
  }
  return nodes;
}

}  // namespace

absl::StatusOr<Coordinator::ActiveJob*> Coordinator::FindTraceable(const std::string& job_id) {
  if (stopping_) {
    return MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "the coordinator is stopping");
  }
  ASSIGN_OR_RETURN(const coordinator::JobRecord record, FindJob(job_id));
  const v1::Job& job = record.job();
  ActiveJob* active = FindActive(job_id);
  if (active == nullptr || job.state() != v1::JOB_STATE_RUNNING || job.phase() != v1::JOB_PHASE_TRAINING) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING",
        absl::StrCat("job ", job_id, " cannot be traced: only a job in training can, and it is ",
                     v1::JobState_Name(job.state()).substr(10), " (", job.reason(), ": ", job.message(), ")"),
        {{"jobId", job_id}, {"state", v1::JobState_Name(job.state())}, {"phase", v1::JobPhase_Name(job.phase())}});
  }
  if (traces_.count(job_id) > 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "TRACE_RUNNING",
                     absl::StrCat("job ", job_id, " is being traced already; one trace at a time"),
                     {{"jobId", job_id}});
  }
  return active;
}

void Coordinator::StartTrace(const v1::TraceJobRequest& request, absl::Duration timeout, TraceSink* sink) {
  if (request.steps() < 1 || request.steps() > kMaxSteps) {
    return sink->Finish(MakeError(absl::StatusCode::kInvalidArgument, "INVALID_STEPS",
                                  absl::StrCat("steps: must be 1..", kMaxSteps, ", got ", request.steps())));
  }
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<ActiveJob*> active = FindTraceable(request.job_id());
  if (!active.ok()) return sink->Finish(active.status());
  const v1::Job& job = (*active)->record.job();
  const absl::Time now = clock_.Now();
  // Grows over restarts of the coordinator, too: nodes may still be at a trace of an earlier life.
  last_trace_ = std::max(last_trace_ + 1, static_cast<uint64_t>(absl::ToUnixMicros(now)));
  timeout = std::min(timeout, kMaxTraceTimeout);
  const absl::Duration reserve = std::clamp(timeout / 10, kMinReserve, kMaxReserve);
  const PendingTrace& trace =
      traces_
          .emplace(request.job_id(),
                   PendingTrace{.sink = sink,
                                .ordinal = (*active)->record.ordinal(),
                                .generation = job.generation(),
                                .collector = TraceCollector({.trace = last_trace_,
                                                             .steps = request.steps(),
                                                             .nodes = NodesOf(job.placement()),
                                                             .align = IsSynchronous(job),
                                                             .spare_steps = SpareTraceSteps(job.progress())}),
                                .deadline = now + timeout - reserve})
          .first->second;
  const v1::CoordinatorMessage command = CollectCommand(**active, trace.collector);
  // Who is not connected gets it when it is (RepeatTraces).
  for (const NodeRef& node : NodesOf(job.placement())) SendTo(node, command);
}

v1::CoordinatorMessage Coordinator::CollectCommand(const ActiveJob& job, const TraceCollector& collector) {
  v1::CoordinatorMessage message;
  v1::CollectTrace& command = *message.mutable_collect_trace();
  command.set_job_id(job.record.job().job_id());
  command.set_generation(job.record.job().generation());
  command.set_trace(collector.trace());
  command.set_steps(collector.steps_to_record());
  return message;
}

void Coordinator::OnTraceReport(const NodeRef& node, const v1::JobReport& report) {
  const auto found = traces_.find(report.job_id());
  if (found == traces_.end() || !found->second.collector.Add(node, report.trace())) return;
  if (found->second.collector.complete()) FinishTraceWithSpans(found->first);
}

void Coordinator::FinishTraceWithSpans(const std::string& job_id) {
  TraceCollector& collector = traces_.at(job_id).collector;
  if (collector.has_spans()) return FinishTrace(job_id, collector.TakeResponse());
  FinishTrace(job_id,
              MakeError(absl::StatusCode::kFailedPrecondition, "JOB_ENDED",
                        absl::StrCat("job ", job_id, " ended before a step was recorded"), {{"jobId", job_id}}));
}

void Coordinator::RepeatTraces(SessionLink* link, const NodeRef& node) {
  for (const auto& [job_id, trace] : traces_) {
    const ActiveJob* job = FindActive(job_id);
    if (job != nullptr && trace.collector.awaits(node)) link->Send(CollectCommand(*job, trace.collector));
  }
}

void Coordinator::CheckTraces(absl::Time now) {
  std::vector<std::string> due;  // FinishTrace changes the map.
  for (auto& [job_id, trace] : traces_) {
    const auto job = active_.find(trace.ordinal);
    const bool over = job == active_.end() || IsTerminal(job->second.record.job().state());
    if (over || !Trains(job->second.record.job()) || job->second.record.job().generation() != trace.generation) {
      trace.answer_by = std::min(trace.answer_by, now + kLinger);
    }
    if (over || now >= trace.deadline || now >= trace.answer_by) due.push_back(job_id);
  }
  for (const std::string& job_id : due) {
    const PendingTrace& trace = traces_.at(job_id);
    if (now < trace.deadline || trace.collector.has_spans()) {
      FinishTraceWithSpans(job_id);
    } else {
      FinishTrace(job_id, MakeError(absl::StatusCode::kDeadlineExceeded, "TRACE_TIMEOUT",
                                    absl::StrCat("job ", job_id, ": no step was recorded in time; no answer yet from ",
                                                 trace.collector.Missing()),
                                    {{"jobId", job_id}}));
    }
  }
}

void Coordinator::CancelTrace(TraceSink* sink) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [job_id, trace] : traces_) {
    if (trace.sink != sink) continue;
    return FinishTrace(job_id, absl::CancelledError("the trace was cancelled"));
  }
}

void Coordinator::FinishTrace(const std::string& job_id, absl::StatusOr<v1::TraceJobResponse> response) {
  const auto found = traces_.find(job_id);
  TraceSink* const sink = found->second.sink;
  traces_.erase(found);  // `job_id` may be its key: not used any more.
  sink->Finish(std::move(response));
}

void Coordinator::FinishAllTraces(const absl::Status& status) {
  while (!traces_.empty()) FinishTrace(traces_.begin()->first, status);
}

}  // namespace paramd
