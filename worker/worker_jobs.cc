#include "worker/worker_jobs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/rpc/error_status.h"
#include "spdlog/spdlog.h"

namespace paramd {

WorkerJobs::WorkerJobs(WorkerJobEnvironment environment, int capacity)
    : environment_(std::move(environment)), capacity_(capacity) {}

WorkerJobs::~WorkerJobs() { Stop(absl::CancelledError("worker stopped")); }

void WorkerJobs::OnCommand(const v1::CoordinatorMessage& command) {
  absl::MutexLock lock(&mutex_);
  if (stopped_) return;
  Collect();
  switch (command.message_case()) {
    case v1::CoordinatorMessage::kPrepareWorker:
      return Prepare(command.prepare_worker());
    case v1::CoordinatorMessage::kStart:
      if (WorkerJob* job = Find(command.start().job_id(), command.start().generation())) job->StartTraining();
      return;
    case v1::CoordinatorMessage::kChangeGeneration:
      return ChangeGeneration(command.change_generation());
    case v1::CoordinatorMessage::kStopRequest:
      if (WorkerJob* job = Find(command.stop_request().job_id(), command.stop_request().generation())) {
        job->RequestStop();
      }
      return;
    case v1::CoordinatorMessage::kStopAt:
      if (WorkerJob* job = Find(command.stop_at().job_id(), command.stop_at().generation())) {
        job->StopAt(command.stop_at().step());
      }
      return;
    case v1::CoordinatorMessage::kCollectTrace:
      return Collect(command.collect_trace());
    case v1::CoordinatorMessage::kRelease:
      return Release(command.release());
    default:
      spdlog::warn("ignored a command that is not for workers (field {})", static_cast<int>(command.message_case()));
  }
}

void WorkerJobs::Prepare(const v1::PrepareWorker& command) {
  const std::string& job_id = command.assignment().job_id();
  const uint64_t generation = command.assignment().generation();
  std::unique_ptr<WorkerJob> predecessor;
  if (const auto held = jobs_.find(job_id); held != jobs_.end()) {
    if (held->second->generation() == generation) return held->second->RepeatPrepare();
    if (held->second->generation() > generation) return;
    predecessor = std::move(held->second);
    jobs_.erase(held);
    predecessor->Drop(absl::CancelledError(absl::StrCat("replaced by generation ", generation)));
  } else if (static_cast<int>(jobs_.size()) >= capacity_) {
    v1::JobReport report;
    *report.mutable_failed() =
        ToRpcStatus(MakeError(absl::StatusCode::kResourceExhausted, "WORKER_FULL",
                              absl::StrCat("the worker holds ", jobs_.size(), " jobs, its capacity is ", capacity_)));
    return Report(job_id, generation, std::move(report));
  }
  spdlog::info("job {} generation {}: preparing", job_id, generation);
  jobs_[job_id] = std::make_unique<WorkerJob>(environment_, command, std::move(predecessor));
  environment_.metrics.SetJobs(static_cast<int>(jobs_.size()));
}

void WorkerJobs::ChangeGeneration(const v1::ChangeGeneration& command) {
  const auto held = jobs_.find(command.job_id());
  if (held == jobs_.end()) return;  // Dropped: the coordinator learns that from the registration.
  const v1::Placement& placement = command.placement();
  const auto workers = static_cast<uint32_t>(placement.workers_size());
  bool valid = command.worker_index() < workers;
  const uint64_t slots = held->second->slots();
  const auto fits = [slots](uint64_t first, uint64_t count) { return first + count <= slots; };
  for (int i = 0; valid && i < placement.workers_size(); ++i) {
    valid = fits(placement.workers(i).first_slot(), placement.workers(i).slot_count());
  }
  valid = valid && fits(command.own().first_slot(), command.own().slot_count());
  for (const v1::SlotSpan& span : command.inherited()) {
    valid = valid && fits(span.first_slot(), span.slot_count());
  }
  if (valid) return held->second->ChangeGeneration(command);
  held->second->Fail(MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT",
                               absl::StrCat("generation ", command.generation(), " makes this worker ",
                                            command.worker_index(), " of ", workers, ", or has slots beyond ", slots)));
}

void WorkerJobs::Release(const v1::ReleaseJob& command) {
  const auto held = jobs_.find(command.job_id());
  if (held == jobs_.end() || held->second->generation() < command.generation()) {
    if (held != jobs_.end()) {
      held->second->Drop(absl::CancelledError("an earlier generation of a released job"));
      Retire(command.job_id());
    }
    v1::JobReport report;
    report.mutable_released();
    return Report(command.job_id(), command.generation(), std::move(report));
  }
  if (held->second->generation() > command.generation()) return;
  spdlog::info("job {} generation {}: released ({})", command.job_id(), command.generation(), command.reason());
  held->second->Release();
  Retire(command.job_id());
}

void WorkerJobs::Collect(const v1::CollectTrace& command) {
  if (WorkerJob* job = Find(command.job_id(), command.generation())) return job->CollectTrace(command);
  v1::JobReport report;
  report.mutable_trace()->set_trace(command.trace());
  Report(command.job_id(), command.generation(), std::move(report));
}

WorkerJob* WorkerJobs::Find(const std::string& job_id, uint64_t generation) {
  const auto held = jobs_.find(job_id);
  return held != jobs_.end() && held->second->generation() == generation ? held->second.get() : nullptr;
}

void WorkerJobs::Retire(const std::string& job_id) {
  const auto held = jobs_.find(job_id);
  ended_.push_back(std::move(held->second));
  jobs_.erase(held);
  environment_.metrics.SetJobs(static_cast<int>(jobs_.size()));
}

void WorkerJobs::Collect() {
  std::erase_if(ended_, [](const std::unique_ptr<WorkerJob>& job) { return job->done(); });
}

void WorkerJobs::Report(const std::string& job_id, uint64_t generation, v1::JobReport report) {
  report.set_job_id(job_id);
  report.set_generation(generation);
  environment_.report(std::move(report));
}

void WorkerJobs::DropAll(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  while (!jobs_.empty()) {
    jobs_.begin()->second->Drop(reason);
    Retire(std::string(jobs_.begin()->first));
  }
}

void WorkerJobs::Stop(const absl::Status& reason) {
  std::map<std::string, std::unique_ptr<WorkerJob>> jobs;
  std::vector<std::unique_ptr<WorkerJob>> ended;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    jobs = std::move(jobs_);
    ended = std::move(ended_);
    jobs_.clear();
    ended_.clear();
  }
  for (auto& [job_id, job] : jobs) job->Fail(reason);
  // Their destructors join the threads.
}

std::vector<v1::HeldJob> WorkerJobs::HeldJobs() const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::HeldJob> held;
  for (const auto& [job_id, job] : jobs_) {
    held.emplace_back().set_job_id(job_id);
    held.back().set_generation(job->generation());
  }
  return held;
}

}  // namespace paramd
