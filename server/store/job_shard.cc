#include "server/store/job_shard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "server/store/job_members.h"

namespace paramd {

JobShard::JobShard(std::shared_ptr<const JobPlan> plan)
    : plan_(std::move(plan)), generation_(plan_->generation), pool_(BufferPool::Create()) {
  chunks_.reserve(plan_->local_chunks.size());
  for (int chunk : plan_->local_chunks) chunks_.push_back(std::make_unique<Chunk>(plan_, chunk, pool_));
}

void JobShard::SetGeneration(uint64_t generation) {
  uint64_t known = generation_;
  while (known < generation && !generation_.compare_exchange_weak(known, generation)) {
  }
}

absl::Status JobShard::CheckGeneration(uint64_t generation) const { return CheckGenerations(generation, generation_); }

absl::Status JobShard::CheckServerGeneration(uint64_t generation) const {
  return generation >= plan_->generation ? absl::OkStatus() : CheckGenerations(generation, plan_->generation);
}

absl::Status JobShard::Check(const ChunkRequest& request) const {
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
