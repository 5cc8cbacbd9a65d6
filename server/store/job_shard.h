// A job on one server: its plan and its local chunks.
//
//   JobShard shard(plan);
//   for (auto& chunk : shard.chunks()) chunk->Initialize();
//   RETURN_IF_ERROR(shard.Check(request));
//   shard.FindChunk(request.chunk)->Handle(request, actions);
//
// Check, FindChunk and what is said of generations are thread safe. Each chunk is used by one thread at a time,
// different chunks by different threads.
#ifndef PARAMD_SERVER_STORE_JOB_SHARD_H_
#define PARAMD_SERVER_STORE_JOB_SHARD_H_

#include <atomic>
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

  // What of a data-plane request's header holds in every generation; the chunk checks the rest. kInvalidArgument:
  // INVALID_CHUNK, INVALID_OPERATION.
  absl::Status Check(const ChunkRequest& request) const;
  // The newest that was adopted, or is about to be: chunks follow on their threads.
  uint64_t generation() const { return generation_; }
  // Not lowered.
  void SetGeneration(uint64_t generation);
  // kFailedPrecondition GENERATION_FENCED, kUnavailable GENERATION_UNKNOWN, unless `generation` is the newest.
  absl::Status CheckGeneration(uint64_t generation) const;
  // The same between servers, for what does not depend on the workers: any generation with these servers will do.
  absl::Status CheckServerGeneration(uint64_t generation) const;
  // Null when the chunk is not on this server.
  Chunk* FindChunk(uint32_t chunk) const;

 private:
  const std::shared_ptr<const JobPlan> plan_;
  std::atomic<uint64_t> generation_;
  const std::shared_ptr<BufferPool> pool_;
  std::vector<std::unique_ptr<Chunk>> chunks_;  // As plan.local_chunks.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_JOB_SHARD_H_
