// Who takes part in a job in one generation: the workers, their incarnations and slots. It is all that changes of a job
// on a server when workers come and go; everything else is in the JobPlan.
//
//   ASSIGN_OR_RETURN(std::shared_ptr<const JobMembers> members, JobMembers::Create(generation, placement, slots));
//   RETURN_IF_ERROR(members->Check(request.generation, request.worker, request.worker_incarnation));
//
// Immutable, thread safe.
#ifndef PARAMD_SERVER_STORE_JOB_MEMBERS_H_
#define PARAMD_SERVER_STORE_JOB_MEMBERS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/partition/chunk_map.h"
#include "proto/job.pb.h"

namespace paramd {

struct JobMember {
  std::string node_id;
  uint64_t incarnation = 0;
  uint64_t joined_generation = 0;
  SlotRange slots;
};

struct JobMembers {
  uint64_t generation = 0;
  std::vector<JobMember> workers;

  // kInvalidArgument, INVALID_PLACEMENT, unless the workers' slots are 0..slots-1, in order, without a gap, none empty.
  static absl::StatusOr<std::shared_ptr<const JobMembers>> Create(uint64_t generation, const v1::Placement& placement,
                                                                  uint32_t slots);

  uint32_t count() const { return static_cast<uint32_t>(workers.size()); }
  // Of a sender. kFailedPrecondition: GENERATION_FENCED (older), INCARNATION_FENCED; kUnavailable: GENERATION_UNKNOWN
  // (newer); kInvalidArgument: INVALID_WORKER.
  absl::Status Check(uint64_t of_generation, uint32_t worker, uint64_t incarnation) const;
  // The index here of a worker of an earlier generation; none when it has gone, even if it came back.
  std::optional<uint32_t> IndexOf(const JobMember& worker) const;
};

// Whether a message of generation `got` may be taken where `present` is the newest; errors as of JobMembers::Check.
absl::Status CheckGenerations(uint64_t got, uint64_t present);

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_JOB_MEMBERS_H_
