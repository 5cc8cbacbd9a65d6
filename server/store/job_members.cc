#include "server/store/job_members.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

absl::Status InvalidPlacement(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT", message);
}

}  // namespace

absl::Status CheckGenerations(uint64_t got, uint64_t present) {
  if (got == present) return absl::OkStatus();
  if (got < present) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED",
                     absl::StrCat("message of generation ", got, " refused: the job is at ", present),
                     {{"generation", absl::StrCat(present)}});
  }
  return MakeError(absl::StatusCode::kUnavailable, "GENERATION_UNKNOWN",
                   absl::StrCat("message of generation ", got, ": this server is still at ", present),
                   {{"generation", absl::StrCat(present)}});
}

absl::StatusOr<std::shared_ptr<const JobMembers>> JobMembers::Create(uint64_t generation,
                                                                     const v1::Placement& placement, uint32_t slots) {
  if (placement.workers().empty()) return InvalidPlacement("no workers");
  auto members = std::make_shared<JobMembers>();
  members->generation = generation;
  uint64_t next = 0;
  for (const v1::WorkerPlacement& worker : placement.workers()) {
    if (worker.first_slot() != next || worker.slot_count() == 0) {
      return InvalidPlacement(absl::StrCat("worker ", worker.node_id(), " has slots ", worker.first_slot(), " + ",
                                           worker.slot_count(), ", expected to start at ", next));
    }
    next += worker.slot_count();
    members->workers.push_back({.node_id = worker.node_id(),
                                .incarnation = worker.incarnation(),
                                .joined_generation = worker.joined_generation(),
                                .slots = {.first = worker.first_slot(), .count = worker.slot_count()}});
  }
  if (next != slots) return InvalidPlacement(absl::StrCat("workers own ", next, " slots of ", slots));
  return std::shared_ptr<const JobMembers>(std::move(members));
}

absl::Status JobMembers::Check(uint64_t of_generation, uint32_t worker, uint64_t incarnation) const {
  RETURN_IF_ERROR(CheckGenerations(of_generation, generation));
  if (worker >= count()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_WORKER",
                     absl::StrCat("worker index ", worker, " of ", count()));
  }
  const JobMember& member = workers[worker];
  if (incarnation == member.incarnation) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED",
                   absl::StrCat("incarnation ", incarnation, " of worker ", member.node_id,
                                " refused: the job was given to ", member.incarnation),
                   {{"incarnation", absl::StrCat(member.incarnation)}});
}

std::optional<uint32_t> JobMembers::IndexOf(const JobMember& worker) const {
  for (uint32_t i = 0; i < count(); ++i) {
    if (workers[i].node_id == worker.node_id && workers[i].incarnation == worker.incarnation &&
        workers[i].joined_generation == worker.joined_generation) {
      return i;
    }
  }
  return std::nullopt;
}

}  // namespace paramd
