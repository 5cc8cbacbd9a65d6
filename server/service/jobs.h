// The jobs that this server holds, and the memory they may use.
//
//   jobs.Prepare(assignment, server_index, [](absl::StatusOr<int64_t> memory_bytes) { ... });
//   std::shared_ptr<ServerJob> job = jobs.Find(job_id);
//   jobs.Release(job_id, generation, reason, [] { ... });
//
// Thread safe, but Prepare and the releases come from one thread at a time. Callbacks run on owner threads or on the
// calling one and must not block.
#ifndef PARAMD_SERVER_SERVICE_JOBS_H_
#define PARAMD_SERVER_SERVICE_JOBS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "proto/cluster.pb.h"
#include "server/service/server_job.h"

namespace paramd {

class Jobs {
 public:
  using Prepared = std::function<void(absl::StatusOr<int64_t> memory_bytes)>;

  Jobs(int64_t memory_limit_bytes, ServerJobEnvironment environment);

  // Allocates and initialises the job's chunks, then calls `done` with the memory accounted. The same generation again
  // is answered again; a newer one replaces the older, whose memory is on its way out and does not count against it.
  // Errors: JobPlan::Create's; kFailedPrecondition GENERATION_FENCED for an older generation; kResourceExhausted
  // MEMORY_LIMIT_EXCEEDED with neededBytes and availableBytes.
  void Prepare(const v1::JobAssignment& assignment, uint32_t server_index, Prepared done);

  // Has the job adopt a generation of other workers; `done` as ServerJob::Adopt's. kNotFound when it is not held;
  // kInvalidArgument INVALID_PLACEMENT.
  absl::Status Adopt(const v1::ChangeGeneration& change, ServerJob::Adopted done);

  // Null when there is no such job, or it has been released.
  std::shared_ptr<ServerJob> Find(absl::string_view job_id) const;

  // Fails the job's open requests with kFailedPrecondition JOB_RELEASED, and calls `done` when nothing refers to it any
  // more and its memory is free. At once when the job is not held, or held in a newer generation.
  void Release(const std::string& job_id, uint64_t generation, const std::string& reason, std::function<void()> done);
  void ReleaseAll(const std::string& reason);

  // On owner thread `thread`.
  absl::Time Tick(int thread, absl::Time now) const;
  // The stream is gone: its waiting requests are forgotten.
  void DropStream(uint64_t stream) const;

  std::vector<v1::HeldJob> Held() const;
  int64_t memory_used_bytes() const { return account_->used.load(); }

 private:
  // Shared with jobs that are still on their way out.
  struct Account {
    std::atomic<int64_t> used = 0;
    absl::Mutex mutex;
    // By job, of all its lives that are here: an earlier one is on its way out and no reason to refuse the next.
    absl::flat_hash_map<std::string, int64_t> used_by_job ABSL_GUARDED_BY(mutex);
    std::vector<std::pair<const void*, std::function<void()>>> gone ABSL_GUARDED_BY(mutex);
  };

  std::vector<std::shared_ptr<ServerJob>> All() const;
  absl::StatusOr<std::shared_ptr<ServerJob>> Create(std::shared_ptr<const JobPlan> plan);
  absl::Status Reserve(const JobPlan& plan);
  static void ReleaseJob(const std::shared_ptr<ServerJob>& job, const std::string& reason);

  const int64_t memory_limit_bytes_;
  const ServerJobEnvironment environment_;
  const std::shared_ptr<Account> account_ = std::make_shared<Account>();

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<ServerJob>> jobs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_JOBS_H_
