// The engine's side for daemons: sessions, leases, reports.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/logging.h"
#include "common/config/version.h"
#include "common/rpc/error_status.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

absl::Status SessionError(absl::StatusCode code, absl::string_view reason, const std::string& message) {
  return MakeError(code, reason, message);
}

}  // namespace

void Coordinator::OpenSession(SessionLink* link) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) {
    return link->Close(
        SessionError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "the coordinator is stopping"));
  }
  sessions_[link].opened = clock_.Now();
}

void Coordinator::CloseSession(SessionLink* link) {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(link);
  if (found == sessions_.end()) return;
  const auto by_node = links_.find(found->second.node.node_id);
  if (by_node != links_.end() && by_node->second == link) links_.erase(by_node);
  sessions_.erase(found);
}

void Coordinator::EndSession(SessionLink* link, const absl::Status& status) {
  const auto found = sessions_.find(link);
  if (found == sessions_.end()) return;
  const auto by_node = links_.find(found->second.node.node_id);
  if (by_node != links_.end() && by_node->second == link) links_.erase(by_node);
  sessions_.erase(found);
  link->Close(status);
}

void Coordinator::SendTo(const NodeRef& node, const v1::CoordinatorMessage& message) {
  const auto link = links_.find(node.node_id);
  // Not connected, or another incarnation by now: it gets the command when it registers, or is lost.
  if (link == links_.end() || !(sessions_.at(link->second).node == node)) return;
  if (const absl::Status injected = HitFailpoint(Failpoint::kCoordinatorCommand); !injected.ok()) {
    return EndSession(link->second, injected);
  }
  link->second->Send(message);
}

void Coordinator::OnDaemonMessage(SessionLink* link, const v1::DaemonMessage& message) {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(link);
  if (found == sessions_.end()) return;
  const NodeRef node = found->second.node;
  const bool registered = node.role != v1::NODE_ROLE_UNSPECIFIED;
  if (message.has_register_() == registered) {
    return EndSession(link, SessionError(absl::StatusCode::kInvalidArgument, "SESSION_PROTOCOL",
                                         "a session starts with exactly one Register"));
  }
  switch (message.message_case()) {
    case v1::DaemonMessage::kRegister:
      return OnRegister(link, message.register_());
    case v1::DaemonMessage::kHeartbeat:
      return OnHeartbeat(link, node, message.heartbeat());
    case v1::DaemonMessage::kReport:
      return OnReport(link, node, message.report());
    case v1::DaemonMessage::kGoodbye:
      spdlog::info("node {} leaves: {}", node.node_id, EscapeLogMessage(message.goodbye().reason()));
      membership_.Leave(node.node_id, node.incarnation);
      metrics_.RemoveNode(node.node_id);
      schedule_wanted_ = true;
      EndSession(link, absl::OkStatus());
      return CheckParticipants();
    default:
      return;  // A newer daemon's.
  }
}

void Coordinator::OnRegister(SessionLink* link, const v1::Register& registration) {
  absl::Status status = HitFailpoint(Failpoint::kCoordinatorRegister);
  if (status.ok()) status = membership_.Register(registration);
  if (!status.ok()) {
    spdlog::warn("registration refused: {}", EscapeLogMessage(status.message()));
    v1::CoordinatorMessage refused;
    *refused.mutable_refused() = ToRpcStatus(status);
    link->Send(refused);
    return EndSession(link, status);
  }
  const NodeRef node{registration.role(), registration.node_id(), registration.incarnation()};
  const auto earlier = links_.find(node.node_id);
  if (earlier != links_.end()) {
    EndSession(earlier->second, SessionError(absl::StatusCode::kAborted, "SESSION_REPLACED",
                                             absl::StrCat("node ", node.node_id, " opened another session")));
  }
  spdlog::info("node {} registered: {}, incarnation {}, {}", node.node_id, v1::NodeRole_Name(node.role),
               node.incarnation, EscapeLogMessage(registration.address()));
  sessions_.at(link).node = node;
  links_[node.node_id] = link;
  v1::CoordinatorMessage welcome;
  welcome.mutable_welcome()->set_lease_ms(absl::ToInt64Milliseconds(options_.membership.lease));
  welcome.mutable_welcome()->set_heartbeat_ms(absl::ToInt64Milliseconds(options_.heartbeat));
  welcome.mutable_welcome()->set_coordinator_id(options_.coordinator_id);
  welcome.mutable_welcome()->set_term(options_.term);
  link->Send(welcome);
  schedule_wanted_ = true;
  CheckParticipants();  // Jobs of an earlier incarnation are lost now.
  ResumeJobs(link, node, registration);
  RepeatTraces(link, node);
}

void Coordinator::ResumeJobs(SessionLink* link, const NodeRef& node, const v1::Register& registration) {
  absl::flat_hash_map<std::string, uint64_t> held;
  for (const v1::HeldJob& job : registration.held_jobs()) held[job.job_id()] = job.generation();
  for (auto& [ordinal, job] : active_) {
    const v1::Job& known = job.record.job();
    if (known.state() != v1::JOB_STATE_RUNNING) continue;
    const auto found = held.find(known.job_id());
    // Of an older generation when it was away while the job's workers changed: it is told what has changed.
    const bool holds =
        found != held.end() && found->second <= known.generation() && found->second >= job.record.placed_generation();
    const std::string job_id = known.job_id();
    // A store that fails here leaves the job as it is; its deadline or the next session tries again.
    bool involved = false;
    Transition(job, [&](JobMachine& machine) {
      involved = machine.Involves(node);
      machine.OnReconnected(node, holds);
    }).IgnoreError();
    // Else it was let go while it was away.
    if (holds && involved) held.erase(job_id);
  }
  for (const auto& [job_id, generation] : held) {
    v1::CoordinatorMessage release;
    release.mutable_release()->set_job_id(job_id);
    release.mutable_release()->set_generation(generation);
    release.mutable_release()->set_reason("the job is over or unknown to the coordinator");
    link->Send(release);
  }
}

void Coordinator::OnHeartbeat(SessionLink* link, const NodeRef& node, const v1::Heartbeat& heartbeat) {
  absl::Status status = HitFailpoint(Failpoint::kCoordinatorHeartbeat);
  if (status.ok()) status = membership_.Renew(node.node_id, node.incarnation, heartbeat.memory_used_bytes());
  if (!status.ok()) return EndSession(link, status);
  v1::CoordinatorMessage ack;
  ack.mutable_heartbeat_ack()->set_sequence(heartbeat.sequence());
  link->Send(ack);
}

void Coordinator::OnReport(SessionLink* link, const NodeRef& node, const v1::JobReport& report) {
  if (report.has_trace()) return OnTraceReport(node, report);
  if (report.number() != 0) {
    const absl::Status injected = HitFailpoint(Failpoint::kCoordinatorReport);
    if (!injected.ok()) return EndSession(link, injected);
  }
  ActiveJob* job = FindActive(report.job_id());
  if (job != nullptr && (report.has_progress() || report.has_server_progress())) {
    OnProgress(*job, node, report);
  } else if (job != nullptr) {
    const absl::Status status = Transition(*job, [&](JobMachine& machine) { machine.OnReport(node, report); });
    // Not acknowledged: the daemon connects again and repeats it.
    if (!status.ok()) return EndSession(link, status);
  }
  if (report.number() == 0) return;
  const absl::Status injected = HitFailpoint(Failpoint::kCoordinatorReportStored);
  if (!injected.ok()) return EndSession(link, injected);
  v1::CoordinatorMessage ack;
  ack.mutable_report_ack()->set_number(report.number());
  link->Send(ack);
}

void Coordinator::OnProgress(ActiveJob& job, const NodeRef& node, const v1::JobReport& report) {
  const v1::Job& known = job.record.job();
  if (known.state() != v1::JOB_STATE_RUNNING || report.generation() > known.generation() ||
      report.generation() < job.record.placed_generation() || job.tracker.empty())
    return;
  const absl::Time now = clock_.Now();
  const v1::Placement& placement = known.placement();
  bool news = false;
  for (int i = 0; report.has_progress() && i < placement.workers_size(); ++i) {
    const v1::WorkerPlacement& worker = placement.workers(i);
    if (!(NodeRef{v1::NODE_ROLE_WORKER, worker.node_id(), worker.incarnation()} == node)) continue;
    job.tracker.front().OnWorkerProgress(i, report.progress(), now, job.record);
    news = true;
  }
  for (int i = 0; report.has_server_progress() && i < placement.servers_size(); ++i) {
    const v1::ServerPlacement& server = placement.servers(i);
    if (!(NodeRef{v1::NODE_ROLE_SERVER, server.node_id(), server.incarnation()} == node)) continue;
    job.tracker.front().OnServerProgress(i, report.server_progress(), now, job.record);
    news = true;
  }
  job.progress_news |= news;
  job.progress_dirty |= news;
}

void Coordinator::CloseSilentSessions(absl::Time now) {
  std::vector<SessionLink*> silent;
  for (const auto& [link, session] : sessions_) {
    const bool registered = session.node.role != v1::NODE_ROLE_UNSPECIFIED;
    if (!registered && now - session.opened > options_.membership.lease) silent.push_back(link);
  }
  for (SessionLink* link : silent) {
    EndSession(link, SessionError(absl::StatusCode::kDeadlineExceeded, "REGISTER_TIMEOUT",
                                  "no Register within a lease of opening the session"));
  }
}

v1::ListNodesResponse Coordinator::ListNodes() {
  absl::MutexLock lock(&mutex_);
  v1::ListNodesResponse response;
  response.set_coordinator_version(kVersion);
  for (v1::NodeRole role : {v1::NODE_ROLE_SERVER, v1::NODE_ROLE_WORKER}) {
    for (const auto& [node_id, node] : membership_.nodes()) {
      const v1::Register& r = node.registration;
      if (r.role() != role) continue;
      v1::Node& out = *response.add_nodes();
      out.set_node_id(node_id);
      out.set_role(role);
      out.set_state(node.state);
      out.set_incarnation(r.incarnation());
      out.set_address(r.address());
      out.set_metrics_address(r.metrics_address());
      out.set_memory_limit_bytes(r.memory_limit_bytes());
      out.set_job_capacity(r.job_capacity());
      out.set_version(r.version());
      out.set_device(r.device());
      *out.mutable_register_time() = ToTimestamp(node.register_time);
      *out.mutable_last_heartbeat_time() = ToTimestamp(node.last_heartbeat);
      AddJobs(out);
    }
  }
  return response;
}

// The running jobs placed on this incarnation of the node, and the memory they reserve there.
void Coordinator::AddJobs(v1::Node& node) {
  for (const auto& [ordinal, job] : active_) {
    const v1::Job& known = job.record.job();
    if (known.state() != v1::JOB_STATE_RUNNING) continue;
    for (const v1::ServerPlacement& server : known.placement().servers()) {
      if (server.node_id() != node.node_id() || server.incarnation() != node.incarnation()) continue;
      node.add_jobs(known.job_id());
      node.set_memory_reserved_bytes(node.memory_reserved_bytes() + server.memory_bytes());
    }
    for (const v1::WorkerPlacement& worker : known.placement().workers()) {
      if (worker.node_id() == node.node_id() && worker.incarnation() == node.incarnation())
        node.add_jobs(known.job_id());
    }
  }
}

}  // namespace paramd
