// Which pending jobs start now, and where. First in, first out; several jobs run at once when there is room.
//
//   std::vector<Decision> decisions = ScheduleJobs(pending, cluster, {});   // one per pending job, in order
//
// A job that the registered cluster could run if it were empty holds back all later ones until it starts, so that a
// stream of small jobs cannot starve it. A job that it could not run (it wants more workers than are registered) is
// passed over. A job takes the `resources.servers` servers with the most free memory and the `resources.workers`
// workers with the most free places; ties go to the lower node id. Pure; thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_SCHEDULER_H_
#define PARAMD_SERVER_COORDINATOR_SCHEDULER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/job.pb.h"

namespace paramd {

// More chunks than this make messages about a placement too large.
inline constexpr int64_t kMaxChunks = 1 << 20;

struct ServerCapacity {
  std::string node_id;
  uint64_t incarnation = 0;
  std::string address;
  int64_t limit_bytes = 0;
  int64_t free_bytes = 0;
  std::string host_id;
  std::string local_address;
};

struct WorkerCapacity {
  std::string node_id;
  uint64_t incarnation = 0;
  uint32_t capacity = 0;
  uint32_t free = 0;
};

// Only nodes that may take jobs.
struct ClusterCapacity {
  std::vector<ServerCapacity> servers;
  std::vector<WorkerCapacity> workers;
};

// What a job's arena needs, from its (filled and validated) spec.
struct ArenaDemand {
  std::vector<int64_t> chunk_bytes;  // Memory on a server, optimizer state and buffers included.
  int64_t total_bytes = 0;
  int64_t arena_elements = 0;
  int64_t parameters = 0;
};

// kInvalidArgument: the model is malformed or too large for any arena; TOO_MANY_CHUNKS.
absl::StatusOr<ArenaDemand> PlanArena(const v1::JobSpec& spec);

struct PendingJob {
  std::string job_id;
  const v1::JobSpec* spec = nullptr;  // Must outlive the call.
  uint32_t workers = 0;               // 0: spec.resources.workers.
};

struct Decision {
  enum class Kind { kPlace, kWait, kFail };
  Kind kind = Kind::kWait;
  v1::Placement placement;  // kPlace.
  std::string reason;       // kWait: INSUFFICIENT_SERVERS, INSUFFICIENT_WORKERS, INSUFFICIENT_MEMORY or QUEUED.
  std::string message;      // kWait: with numbers.
  absl::Status error;       // kFail: kResourceExhausted MODEL_TOO_LARGE.
};

struct ScheduleOptions {
  // Whether a job too large for the registered servers fails. Not while nodes are still coming back after a restart.
  bool fail_too_large = true;
};

std::vector<Decision> ScheduleJobs(absl::Span<const PendingJob> pending, ClusterCapacity cluster,
                                   const ScheduleOptions& options);

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_SCHEDULER_H_
