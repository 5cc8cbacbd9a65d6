#include "server/store/job_shard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {

JobShard::JobShard(std::shared_ptr<const JobPlan> plan) : plan_(std::move(plan)), pool_(BufferPool::Create()) {
  chunks_.reserve(plan_->local_chunks.size());
  for (int chunk : plan_->local_chunks) chunks_.push_back(std::make_unique<Chunk>(plan_, chunk, pool_));
}

absl::Status JobShard::CheckGeneration(uint64_t generation) const {
  if (generation == plan_->generation) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED",
      absl::StrCat("message of generation ", generation, " refused: job ", plan_->job_id, " is at ", plan_->generation),
      {{"generation", absl::StrCat(plan_->generation)}});
}

absl::Status JobShard::Check(const ChunkRequest& request) const {
  RETURN_IF_ERROR(CheckGeneration(request.generation));
  if (request.worker >= plan_->worker_count()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_WORKER",
                     absl::StrCat("worker index ", request.worker, " of ", plan_->worker_count()));
  }
  const v1::WorkerPlacement& worker = plan_->placement.workers(request.worker);
  if (request.worker_incarnation != worker.incarnation()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED",
                     absl::StrCat("incarnation ", request.worker_incarnation, " of worker ", worker.node_id(),
                                  " refused: the job was given to ", worker.incarnation()),
                     {{"incarnation", absl::StrCat(worker.incarnation())}});
  }
  if (!request.push && !request.pull) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_OPERATION", "the request neither pushes nor pulls");
  }
  if (FindChunk(request.chunk) == nullptr) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_CHUNK",
                     absl::StrCat("chunk ", request.chunk, " of ", plan_->arena.chunk_count(), " is not on server ",
                                  plan_->server_index));
  }
  return absl::OkStatus();
}

Chunk* JobShard::FindChunk(uint32_t chunk) const {
  const std::vector<int>& local = plan_->local_chunks;
  const auto found = std::lower_bound(local.begin(), local.end(), static_cast<int64_t>(chunk));
  if (found == local.end() || static_cast<uint32_t>(*found) != chunk) return nullptr;
  return chunks_[found - local.begin()].get();
}

}  // namespace paramd
