#include "server/service/jobs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/store/job_members.h"

namespace paramd {

Jobs::Jobs(int64_t memory_limit_bytes, ServerJobEnvironment environment)
    : memory_limit_bytes_(memory_limit_bytes), environment_(std::move(environment)) {
  environment_.metrics.memory_limit().Set(static_cast<double>(memory_limit_bytes));
}

absl::Status Jobs::Reserve(const JobPlan& plan) {
  const int64_t needed = plan.memory_bytes();
  absl::MutexLock lock(&account_->mutex);
  int64_t& of_job = account_->used_by_job[plan.job_id];
  const int64_t available = memory_limit_bytes_ - (account_->used - of_job);
  if (needed > available) {
    if (of_job == 0) account_->used_by_job.erase(plan.job_id);
    return MakeError(absl::StatusCode::kResourceExhausted, "MEMORY_LIMIT_EXCEEDED",
                     absl::StrCat("job ", plan.job_id, " needs ", needed, " bytes on this server, ", available,
                                  " are available of ", memory_limit_bytes_),
                     {{"neededBytes", absl::StrCat(needed)}, {"availableBytes", absl::StrCat(available)}});
  }
  of_job += needed;
  environment_.metrics.memory_used().Set(static_cast<double>(account_->used += needed));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ServerJob>> Jobs::Create(std::shared_ptr<const JobPlan> plan) {
  RETURN_IF_ERROR(Reserve(*plan));
  // Runs at the end of the job's destructor, which the owner of the last reference calls. Keeps the plan, so that no
  // other has its address, by which Release's callback is found.
  auto on_gone = [account = account_, plan, &used = environment_.metrics.memory_used()] {
    std::function<void()> done;
    {
      absl::MutexLock lock(&account->mutex);
      used.Set(static_cast<double>(account->used -= plan->memory_bytes()));
      if ((account->used_by_job[plan->job_id] -= plan->memory_bytes()) == 0) {
        account->used_by_job.erase(plan->job_id);
      }
      for (auto entry = account->gone.begin(); entry != account->gone.end(); ++entry) {
        if (entry->first != plan.get()) continue;
        done = std::move(entry->second);
        account->gone.erase(entry);
        break;
      }
    }
    if (done) done();
  };
  return std::make_shared<ServerJob>(plan, environment_, std::move(on_gone));
}

void Jobs::Prepare(const v1::JobAssignment& assignment, uint32_t server_index, Prepared done) {
  absl::StatusOr<std::shared_ptr<const JobPlan>> plan = JobPlan::Create(assignment, server_index);
  if (!plan.ok()) return done(plan.status());
  const std::shared_ptr<ServerJob> held = Find(assignment.job_id());
  if (held != nullptr && held->generation() > assignment.generation()) {
    return done(held->shard().CheckGeneration(assignment.generation()));
  }
  if (held != nullptr && held->generation() == assignment.generation()) {
    if (held->initialized()) done(held->plan().memory_bytes());
    return;  // Else the first call will answer.
  }
  absl::StatusOr<std::shared_ptr<ServerJob>> job = Create(*std::move(plan));
  {
    absl::MutexLock lock(&mutex_);
    jobs_.erase(assignment.job_id());
    if (job.ok()) jobs_.emplace(assignment.job_id(), *job);
  }
  if (held != nullptr) ReleaseJob(held, "replaced by a newer generation");
  if (!job.ok()) return done(job.status());
  const int64_t bytes = (*job)->plan().memory_bytes();
  if ((*job)->plan().restore_directory.empty()) {
    (*job)->Initialize([bytes, done = std::move(done)] { done(bytes); });
  } else {
    (*job)->Restore([bytes, done = std::move(done)](const absl::Status& status) {
      done(status.ok() ? absl::StatusOr<int64_t>(bytes) : status);
    });
  }
}

absl::Status Jobs::Adopt(const v1::ChangeGeneration& change, ServerJob::Adopted done) {
  const std::shared_ptr<ServerJob> job = Find(change.job_id());
  if (job == nullptr) return absl::NotFoundError(absl::StrCat("no job ", change.job_id(), " on this server"));
  ASSIGN_OR_RETURN(std::shared_ptr<const JobMembers> members,
                   JobMembers::Create(change.generation(), change.placement(), job->plan().slots()));
  job->Adopt(std::move(members), std::move(done));
  return absl::OkStatus();
}

std::shared_ptr<ServerJob> Jobs::Find(absl::string_view job_id) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = jobs_.find(job_id);
  return found == jobs_.end() ? nullptr : found->second;
}

void Jobs::ReleaseJob(const std::shared_ptr<ServerJob>& job, const std::string& reason) {
  job->Release(MakeError(absl::StatusCode::kFailedPrecondition, "JOB_RELEASED",
                         absl::StrCat("job ", job->plan().job_id, " was released: ", reason)));
}

void Jobs::Release(const std::string& job_id, uint64_t generation, const std::string& reason,
                   std::function<void()> done) {
  std::shared_ptr<ServerJob> job;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = jobs_.find(job_id);
    if (found != jobs_.end() && found->second->generation() <= generation) {
      job = std::move(found->second);
      jobs_.erase(found);
      absl::MutexLock account_lock(&account_->mutex);
      account_->gone.emplace_back(&job->plan(), done);
    }
  }
  if (job == nullptr) return done();
  ReleaseJob(job, reason);
}

void Jobs::ReleaseAll(const std::string& reason) {
  std::vector<std::shared_ptr<ServerJob>> jobs = All();
  {
    absl::MutexLock lock(&mutex_);
    jobs_.clear();
  }
  for (const std::shared_ptr<ServerJob>& job : jobs) ReleaseJob(job, reason);
}

std::vector<std::shared_ptr<ServerJob>> Jobs::All() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::shared_ptr<ServerJob>> jobs;
  for (const auto& [id, job] : jobs_) jobs.push_back(job);
  return jobs;
}

absl::Time Jobs::Tick(int thread, absl::Time now) const {
  absl::Time next = absl::InfiniteFuture();
  for (const std::shared_ptr<ServerJob>& job : All()) next = std::min(next, job->Tick(thread, now));
  return next;
}

void Jobs::DropStream(uint64_t stream) const {
  for (const std::shared_ptr<ServerJob>& job : All()) job->DropStream(stream);
}

std::vector<v1::HeldJob> Jobs::Held() const {
  std::vector<v1::HeldJob> held;
  for (const std::shared_ptr<ServerJob>& job : All()) {
    held.emplace_back();
    held.back().set_job_id(job->plan().job_id);
    held.back().set_generation(job->generation());
  }
  return held;
}

}  // namespace paramd
