// The jobs that this worker holds, and the coordinator's commands about them.
//
//   WorkerJobs jobs(environment, /*capacity=*/1);
//   jobs.OnCommand(message);        // As the coordinator session delivers them.
//   jobs.DropAll(reason);           // The lease is lost: everything ends, nothing is reported.
//   jobs.Stop(reason);              // The worker ends: jobs are reported failed, threads joined.
//
// A command of another generation than the one held is stale and ignored, except a newer PrepareWorker, which replaces
// the job, a newer ChangeGeneration, with which the job goes on, and ReleaseJob and CollectTrace for a job that is not
// held, which are answered. Thread safe; only Stop blocks.
#ifndef PARAMD_WORKER_WORKER_JOBS_H_
#define PARAMD_WORKER_WORKER_JOBS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "proto/cluster.pb.h"
#include "worker/worker_job.h"

namespace paramd {

class WorkerJobs {
 public:
  WorkerJobs(WorkerJobEnvironment environment, int capacity);
  ~WorkerJobs();

  void OnCommand(const v1::CoordinatorMessage& command);
  void DropAll(const absl::Status& reason);
  // No report comes after it returns. Idempotent.
  void Stop(const absl::Status& reason);
  std::vector<v1::HeldJob> HeldJobs() const;

 private:
  void Prepare(const v1::PrepareWorker& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ChangeGeneration(const v1::ChangeGeneration& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Release(const v1::ReleaseJob& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Collect(const v1::CollectTrace& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The job if it is held in this generation, else null.
  WorkerJob* Find(const std::string& job_id, uint64_t generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves the job to the ended ones.
  void Retire(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Destroys ended jobs whose threads are done; the others are looked at again next time.
  void Collect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report(const std::string& job_id, uint64_t generation, v1::JobReport report);

  const WorkerJobEnvironment environment_;
  const int capacity_;
  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::unique_ptr<WorkerJob>> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<WorkerJob>> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_WORKER_WORKER_JOBS_H_
