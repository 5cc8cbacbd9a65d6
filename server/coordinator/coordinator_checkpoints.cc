// The engine's side for checkpoints: pause, resume, and what users do with checkpoints of any job, running or not.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/coordinator/coordinator.h"

namespace paramd {

using coordinator::JobRecord;

absl::StatusOr<Coordinator::ActiveJob*> Coordinator::Revive(const std::string& job_id) {
  if (ActiveJob* active = FindActive(job_id); active != nullptr) return active;
  ASSIGN_OR_RETURN(JobRecord record, FindJob(job_id));
  ActiveJob& active = active_[record.ordinal()];
  active.record = std::move(record);
  return &active;
}

absl::StatusOr<NodeRef> Coordinator::ServerFor(const v1::Job& job) {
  const auto ready = [&](const std::string& node_id) {
    mutex_.AssertHeld();
    const NodeRecord* node = membership_.Find(node_id);
    return node != nullptr && node->state == v1::NODE_STATE_READY && links_.contains(node_id) &&
           node->registration.role() == v1::NODE_ROLE_SERVER;
  };
  const auto reference = [&](const std::string& node_id) {
    mutex_.AssertHeld();
    return NodeRef{v1::NODE_ROLE_SERVER, node_id, membership_.Find(node_id)->registration.incarnation()};
  };
  for (const v1::ServerPlacement& server : job.placement().servers()) {
    if (ready(server.node_id())) return reference(server.node_id());
  }
  for (const auto& [node_id, node] : membership_.nodes()) {
    if (ready(node_id)) return reference(node_id);
  }
  return MakeError(absl::StatusCode::kUnavailable, "NO_SERVER",
                   "no server is there to read the output directory; start one that sees it");
}

absl::StatusOr<v1::Job> Coordinator::Pause(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(ActiveJob* const active, Revive(job_id));
  absl::Status refused;
  RETURN_IF_ERROR(Transition(*active, [&](JobMachine& machine) { refused = machine.OnPause(); }));
  RETURN_IF_ERROR(refused);
  return active->record.job();
}

absl::StatusOr<v1::Job> Coordinator::Resume(const v1::ResumeJobRequest& request) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(ActiveJob* const active, Revive(request.job_id()));
  absl::Status refused;
  RETURN_IF_ERROR(Transition(*active, [&](JobMachine& machine) { refused = machine.OnResume(request.step()); }));
  RETURN_IF_ERROR(refused);
  ended_series_.erase(request.job_id());
  schedule_wanted_ = true;
  return active->record.job();
}

absl::StatusOr<v1::Checkpoint> Coordinator::CreateCheckpoint(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(ActiveJob* const active, Revive(job_id));
  absl::StatusOr<v1::Checkpoint> created;
  RETURN_IF_ERROR(Transition(*active, [&](JobMachine& machine) { created = machine.OnCreateCheckpoint(); }));
  return created;
}

absl::StatusOr<std::vector<v1::Checkpoint>> Coordinator::ListCheckpoints(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const JobRecord record, FindJob(job_id));
  return JobMachine::Checkpoints(record);
}

absl::StatusOr<v1::Checkpoint> Coordinator::VerifyCheckpoint(const v1::VerifyCheckpointRequest& request) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(ActiveJob* const active, Revive(request.job_id()));
  ASSIGN_OR_RETURN(const NodeRef server, ServerFor(active->record.job()));
  absl::StatusOr<v1::Checkpoint> checkpoint;
  RETURN_IF_ERROR(Transition(
      *active, [&](JobMachine& machine) { checkpoint = machine.OnVerifyCheckpoint(request.step(), server); }));
  return checkpoint;
}

absl::StatusOr<v1::Checkpoint> Coordinator::DeleteCheckpoint(const v1::DeleteCheckpointRequest& request) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(ActiveJob* const active, Revive(request.job_id()));
  ASSIGN_OR_RETURN(const NodeRef server, ServerFor(active->record.job()));
  absl::StatusOr<v1::Checkpoint> checkpoint;
  RETURN_IF_ERROR(Transition(*active, [&](JobMachine& machine) {
    checkpoint = machine.OnDeleteCheckpoint(request.step(), request.force(), server);
  }));
  return checkpoint;
}

}  // namespace paramd
