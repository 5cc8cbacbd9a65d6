// The engine's side of workers that come and go: who may join, how fast they are, how many a job is to have.
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/coordinator/coordinator.h"

namespace paramd {

void Coordinator::CheckMembership(absl::Time now) {
  for (auto& [ordinal, job] : active_) {
    if (!JobMachine::MembershipDue(job.record, now)) continue;
    Transition(job, [](JobMachine& machine) {
      machine.OnMembershipTick();
    }).IgnoreError();  // The next tick tries again.
  }
}

void Coordinator::OfferWorkers(absl::Time now) {
  // Jobs that wait for workers to begin go first, unless a job has none left at all.
  bool pending = false;
  for (const auto& [ordinal, job] : active_) pending |= job.record.job().state() == v1::JOB_STATE_PENDING;
  for (auto& [ordinal, job] : active_) {
    uint32_t missing = JobMachine::WorkersMissing(job.record, now);
    if (missing == 0 || (pending && !job.record.has_workers_deadline())) continue;
    for (const WorkerCapacity& worker : Capacity().workers) {
      if (missing == 0) break;
      if (worker.free == 0 || !links_.contains(worker.node_id)) continue;
      const NodeRef node{v1::NODE_ROLE_WORKER, worker.node_id, worker.incarnation};
      const int joiners = job.record.joiners_size();
      if (!Transition(job, [&](JobMachine& machine) { machine.OnWorkerOffered(node); }).ok()) return;
      if (job.record.joiners_size() > joiners) --missing;
    }
  }
}

void Coordinator::DealBySpeed() {
  for (auto& [ordinal, job] : active_) {
    if (job.record.job().phase() != v1::JOB_PHASE_TRAINING || job.tracker.empty()) continue;
    const std::vector<double> speeds = job.tracker.front().SlotsPerSecond();
    Transition(job, [&](JobMachine& machine) { machine.OnSpeeds(speeds); }).IgnoreError();  // As above.
  }
}

absl::StatusOr<v1::Job> Coordinator::Scale(const std::string& job_id, uint32_t workers) {
  absl::MutexLock lock(&mutex_);
  ActiveJob* active = FindActive(job_id);
  if (active == nullptr) {
    ASSIGN_OR_RETURN(coordinator::JobRecord record, FindJob(job_id));
    JobMachine machine(record, options_.machine, clock_.Now());
    RETURN_IF_ERROR(machine.OnScale(workers));
    return MakeError(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING",
                     absl::StrCat("job ", job_id, " is not running; resume it first"), {{"jobId", job_id}});
  }
  absl::Status refused;
  RETURN_IF_ERROR(Transition(*active, [&](JobMachine& machine) { refused = machine.OnScale(workers); }));
  RETURN_IF_ERROR(refused);
  schedule_wanted_ = true;
  return active->record.job();
}

}  // namespace paramd
