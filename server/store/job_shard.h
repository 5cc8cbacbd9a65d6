// A job on one server: its plan and its local chunks.
//
//   JobShard shard(plan);
//   for (auto& chunk : shard.chunks()) chunk->Initialize();
//   RETURN_IF_ERROR(shard.Check(request));
//   shard.FindChunk(request.chunk)->Handle(request, actions);
//
// Check and FindChunk are thread safe. Each chunk is used by one thread at a time, different chunks by different
// threads.
#ifndef PARAMD_SERVER_STORE_JOB_SHARD_H_
#define PARAMD_SERVER_STORE_JOB_SHARD_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/store/buffer_pool.h"
#include "server/store/chunk.h"
#include "server/store/chunk_request.h"
#include "server/store/job_plan.h"

namespace paramd {

class JobShard {
 public:
  explicit JobShard(std::shared_ptr<const JobPlan> plan);

  const JobPlan& plan() const { return *plan_; }
  const std::vector<std::unique_ptr<Chunk>>& chunks() const { return chunks_; }
  const BufferPool& pool() const { return *pool_; }

  // The header of a data-plane request. kFailedPrecondition: GENERATION_FENCED, INCARNATION_FENCED; kInvalidArgument:
  // INVALID_WORKER, INVALID_CHUNK, INVALID_OPERATION.
  absl::Status Check(const ChunkRequest& request) const;
  // kFailedPrecondition, GENERATION_FENCED, unless `generation` is the plan's.
  absl::Status CheckGeneration(uint64_t generation) const;
  // Null when the chunk is not on this server.
  Chunk* FindChunk(uint32_t chunk) const;

 private:
  const std::shared_ptr<const JobPlan> plan_;
  const std::shared_ptr<BufferPool> pool_;
  std::vector<std::unique_ptr<Chunk>> chunks_;  // As plan.local_chunks.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_JOB_SHARD_H_
