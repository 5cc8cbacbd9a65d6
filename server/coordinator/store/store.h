// Where the coordinator keeps what must survive it: job records (with placements and request ids) and job events.
//
//   StoreBatch batch;
//   batch.put_jobs.push_back(record);
//   batch.add_events.push_back(event);
//   RETURN_IF_ERROR(store.Apply(batch));   // All of it is durable, or none of it happened.
//
// Thread safety: not thread safe; the coordinator serialises its calls. Errors: kUnavailable (reason STORE_UNAVAILABLE:
// busy, disk full, I/O), kDataLoss (STORE_CORRUPT), kAborted (STORE_CONFLICT: the batch contradicts what is stored, as
// an ordinal or a request id that belongs to another job), kInvalidArgument (STORE_BATCH_TOO_LARGE), kNotFound where
// said. Implementations: sqlite_store.h for one coordinator, etcd_store.h for one with standbys; store_test.cc holds
// them to the same behaviour.
#ifndef PARAMD_SERVER_COORDINATOR_STORE_STORE_H_
#define PARAMD_SERVER_COORDINATOR_STORE_STORE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/job.pb.h"
#include "server/coordinator/job_record.pb.h"

namespace paramd {

// Events kept per job; older ones are dropped as newer ones arrive.
inline constexpr uint64_t kMaxEventsPerJob = 10000;

// Jobs, events and deletions of one batch together: what fits into one etcd transaction.
inline constexpr size_t kMaxBatchItems = 32;

struct StoreBatch {
  std::vector<coordinator::JobRecord> put_jobs;  // Inserted or replaced, keyed by job_id; the ordinal never changes.
  std::vector<v1::JobEvent> add_events;          // Keyed by (job_id, sequence); the same key again replaces.
  std::vector<std::string> delete_jobs;          // With their events. Their ids stay taken for ever.
};

// STORE_BATCH_TOO_LARGE.
absl::Status CheckBatch(const StoreBatch& batch);
// STORE_CONFLICT.
absl::Status StoreConflict(absl::string_view message);

struct JobQuery {
  uint64_t below_ordinal = UINT64_MAX;  // Only jobs submitted before this one.
  std::vector<v1::JobState> states;     // Empty: all.
  int limit = 50;
};

class Store {
 public:
  virtual ~Store() = default;

  virtual absl::Status Apply(const StoreBatch& batch) = 0;

  // kNotFound when there is no such job.
  virtual absl::StatusOr<coordinator::JobRecord> GetJob(const std::string& job_id) = 0;
  // kNotFound when no job was submitted under this (non-empty) request id.
  virtual absl::StatusOr<coordinator::JobRecord> GetJobByRequestId(const std::string& request_id) = 0;
  // Whether the id belongs to a job now or belonged to a deleted one.
  virtual absl::StatusOr<bool> JobIdTaken(const std::string& job_id) = 0;
  // Newest first.
  virtual absl::StatusOr<std::vector<coordinator::JobRecord>> ListJobs(const JobQuery& query) = 0;
  virtual absl::StatusOr<std::map<v1::JobState, int64_t>> CountJobs() = 0;
  // The highest ordinal of all jobs, 0 when there are none.
  virtual absl::StatusOr<uint64_t> LastOrdinal() = 0;
  // Events of the job with a higher sequence than `after`, ascending, at most `limit`.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& job_id, uint64_t after, int limit) = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_STORE_STORE_H_
