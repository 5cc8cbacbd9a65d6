// Everything about a job that its chunks on this server share and that never changes: the arena, the optimizer, the
// schedule, the policies, and who computed which slots at first (job_members.h has what becomes of that). Made from the
// coordinator's assignment, which is checked in full.
//
//   ASSIGN_OR_RETURN(std::shared_ptr<const JobPlan> plan, JobPlan::Create(assignment, server_index));
//
// Immutable, thread safe.
#ifndef PARAMD_SERVER_STORE_JOB_PLAN_H_
#define PARAMD_SERVER_STORE_JOB_PLAN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/partition/arena_plan.h"
#include "common/partition/codec_plan.h"
#include "common/partition/slot_tree.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"
#include "server/store/job_members.h"
#include "server/store/optimizer/optimizer.h"
#include "server/store/parameter_groups.h"
#include "server/store/schedule.h"

namespace paramd {

struct JobPlan {
  std::string job_id;
  uint64_t generation = 0;  // In which the job was given to its servers.
  uint32_t server_index = 0;
  v1::JobSpec spec;
  v1::Placement placement;
  std::shared_ptr<const JobMembers> members;  // Of `generation`.
  ArenaPlan arena;
  CodecPlan codecs;
  SlotTree tree{1};
  Schedule schedule{v1::OptimizerSpec(), 0};
  std::unique_ptr<const Optimizer> optimizer;
  std::vector<ParameterSettings> settings;  // By parameter.
  std::vector<int> local_chunks;            // This server's, ascending.
  uint64_t first_step = 0;                  // The steps before it are done.
  std::string restore_directory;            // Of the checkpoint to start from; empty: initial weights.

  v1::SyncMode mode() const { return spec.sync().mode(); }
  bool synchronous() const { return mode() == v1::SYNC_MODE_SYNC; }
  uint64_t steps() const { return spec.training().steps(); }
  uint32_t slots() const { return spec.training().slots(); }
  bool fails_on_non_finite() const { return spec.optimizer().non_finite() != v1::NON_FINITE_POLICY_SKIP; }
  // Whether a step is applied only when the squared norm of the whole gradient is known (sync mode: to clip, or to skip
  // the step on every chunk alike).
  bool needs_total_norm() const {
    return synchronous() && (spec.optimizer().clip_norm() > 0 || !fails_on_non_finite());
  }
  // At first.
  uint32_t worker_count() const { return static_cast<uint32_t>(placement.workers_size()); }
  bool is_lead() const { return server_index == 0; }

  // Elements of the local chunks, and the memory they are accounted with (common/partition/memory.h).
  int64_t local_elements() const;
  int64_t memory_bytes() const;

  // kInvalidArgument, reason INVALID_SPEC or INVALID_PLACEMENT, when the spec was not filled or anything in the
  // placement contradicts it.
  static absl::StatusOr<std::shared_ptr<const JobPlan>> Create(const v1::JobAssignment& assignment,
                                                               uint32_t server_index);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_JOB_PLAN_H_
