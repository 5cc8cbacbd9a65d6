#include "server/store/job_plan.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/partition/memory.h"

namespace paramd {

namespace {

constexpr uint32_t kMaxSlots = 4096;

absl::Status InvalidSpec(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC", message);
}

absl::Status InvalidPlacement(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT", message);
}

absl::Status CheckSpec(const v1::JobSpec& spec) {
  const v1::TrainingSpec& training = spec.training();
  if (training.slots() < 1 || training.slots() > kMaxSlots) {
    return InvalidSpec(absl::StrCat("spec.training.slots: must be in [1, ", kMaxSlots, "], got ", training.slots()));
  }
  if (training.steps() < 1) return InvalidSpec("spec.training.steps: must be >= 1, got 0");
  const v1::SyncMode mode = spec.sync().mode();
  if (mode != v1::SYNC_MODE_SYNC && mode != v1::SYNC_MODE_SSP && mode != v1::SYNC_MODE_ASYNC) {
    return InvalidSpec(absl::StrCat("spec.sync.mode: unknown mode ", mode));
  }
  if (!(spec.optimizer().clip_norm() >= 0)) return InvalidSpec("spec.optimizer.clip_norm: must be >= 0");
  return absl::OkStatus();
}

absl::Status CheckChunks(const JobPlan& plan) {
  const v1::Placement& placement = plan.placement;
  if (placement.chunk_server_size() != plan.arena.chunk_count()) {
    return InvalidPlacement(absl::StrCat("placement of ", placement.chunk_server_size(), " chunks, the model has ",
                                         plan.arena.chunk_count()));
  }
  if (placement.arena_elements() != static_cast<uint64_t>(plan.arena.arena_elements())) {
    return InvalidPlacement(absl::StrCat("arena of ", placement.arena_elements(), " elements, the model has ",
                                         plan.arena.arena_elements()));
  }
  if (plan.server_index >= static_cast<uint32_t>(placement.servers_size())) {
    return InvalidPlacement(absl::StrCat("server index ", plan.server_index, " of ", placement.servers_size()));
  }
  for (uint32_t server : placement.chunk_server()) {
    if (server >= static_cast<uint32_t>(placement.servers_size())) {
      return InvalidPlacement(absl::StrCat("chunk on server ", server, " of ", placement.servers_size()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t JobPlan::local_elements() const {
  int64_t elements = 0;
  for (int chunk : local_chunks) elements += arena.ChunkRange(chunk).size();
  return elements;
}

int64_t JobPlan::memory_bytes() const { return local_elements() * ServerBytesPerElement(spec); }

absl::StatusOr<std::shared_ptr<const JobPlan>> JobPlan::Create(const v1::JobAssignment& assignment,
                                                               uint32_t server_index) {
  auto plan = std::make_shared<JobPlan>();
  plan->job_id = assignment.job_id();
  plan->generation = assignment.generation();
  plan->server_index = server_index;
  plan->spec = assignment.spec();
  plan->placement = assignment.placement();
  plan->first_step = assignment.first_step();
  plan->restore_directory = assignment.restore_directory();
  RETURN_IF_ERROR(CheckSpec(plan->spec));
  if (plan->first_step > plan->steps()) {
    return InvalidPlacement(absl::StrCat("first step ", plan->first_step, " of ", plan->steps()));
  }
  ASSIGN_OR_RETURN(plan->members, JobMembers::Create(plan->generation, plan->placement, plan->slots()));
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(plan->spec.model()));
  plan->settings = ResolveParameterGroups(plan->spec.optimizer(), layout);
  ASSIGN_OR_RETURN(plan->arena, ArenaPlan::Create(std::move(layout), plan->spec.resources().chunk_elements()));
  ASSIGN_OR_RETURN(plan->codecs, CodecPlan::Create(plan->spec, plan->arena));
  RETURN_IF_ERROR(CheckChunks(*plan));
  plan->tree = SlotTree(plan->slots());
  plan->schedule = Schedule(plan->spec.optimizer(), plan->steps());
  ASSIGN_OR_RETURN(plan->optimizer, CreateOptimizer(plan->spec.optimizer()));
  for (int chunk = 0; chunk < plan->arena.chunk_count(); ++chunk) {
    if (plan->placement.chunk_server(chunk) == server_index) plan->local_chunks.push_back(chunk);
  }
  return plan;
}

}  // namespace paramd
