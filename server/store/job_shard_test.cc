#include "server/store/job_shard.h"

#include <memory>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/tensor/reduce.h"
#include "gtest/gtest.h"
#include "server/store/norm_table.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

std::unique_ptr<JobShard> MakeShard(const TestJobOptions& options, uint32_t server) {
  auto plan = JobPlan::Create(TestAssignment(options), server);
  EXPECT_OK(plan);
  auto shard = std::make_unique<JobShard>(*plan);
  for (const auto& chunk : shard->chunks()) chunk->Initialize();
  return shard;
}

TEST(JobShardTest, ChecksTheHeader) {
  const auto shard = MakeShard({.workers = 2, .servers = 2}, 1);
  const ChunkRequest good = TestPull(shard->plan(), {.worker = 1, .chunk = 3});
  EXPECT_OK(shard->Check(good));
  const auto refused = [&](auto change, absl::StatusCode code, const char* reason) {
    ChunkRequest request = good;
    change(request);
    EXPECT_THAT(shard->Check(request), StatusIs(code, reason));
  };
  refused([](ChunkRequest& r) { r.chunk = 2; }, absl::StatusCode::kInvalidArgument, "INVALID_CHUNK");
  refused([](ChunkRequest& r) { r.chunk = 4000000000u; }, absl::StatusCode::kInvalidArgument, "INVALID_CHUNK");
  refused([](ChunkRequest& r) { r.pull = false; }, absl::StatusCode::kInvalidArgument, "INVALID_OPERATION");
}

TEST(JobShardTest, GenerationsGoUpOnly) {
  const auto shard = MakeShard({.workers = 2, .servers = 2}, 1);
  ASSERT_EQ(shard->generation(), kTestGeneration);
  shard->SetGeneration(kTestGeneration + 2);
  shard->SetGeneration(kTestGeneration + 1);
  EXPECT_OK(shard->CheckGeneration(kTestGeneration + 2));
  EXPECT_THAT(shard->CheckGeneration(kTestGeneration + 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  EXPECT_THAT(shard->CheckGeneration(kTestGeneration + 3),
              StatusIs(absl::StatusCode::kUnavailable, "GENERATION_UNKNOWN"));
  // Between servers only that in which they got the job counts.
  EXPECT_OK(shard->CheckServerGeneration(kTestGeneration));
  EXPECT_OK(shard->CheckServerGeneration(kTestGeneration + 3));
  EXPECT_THAT(shard->CheckServerGeneration(kTestGeneration - 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
}

// Trains three clipped steps of one worker over `servers` servers, single threaded; returns the arena.
std::vector<float> TrainClipped(uint32_t servers) {
  std::vector<std::unique_ptr<JobShard>> shards;
  for (uint32_t server = 0; server < servers; ++server) {
    shards.push_back(MakeShard(
        {.servers = servers, .optimizer = v1::OPTIMIZER_TYPE_ADAMW, .learning_rate = 0.01, .clip_norm = 3}, server));
  }
  const JobPlan& plan = shards[0]->plan();
  NormTable norms({0, 1, 2, 3, 4});
  for (uint64_t step = 0; step < 3; ++step) {
    for (const auto& shard : shards) {
      for (const auto& chunk : shard->chunks()) {
        const std::vector<float> sum = TestGradientSum(chunk->elements(), 0, 4, step, chunk->index());
        ChunkActions actions;
        chunk->Handle(TestPush(plan, {.chunk = static_cast<uint32_t>(chunk->index()), .step = step, .subtree = {0, 2}},
                               AsBytes(sum)),
                      actions);
        EXPECT_OK(norms.Add(step, actions.norm->chunk, actions.norm->squared_norm));
      }
    }
    for (const auto& shard : shards) {
      ChunkActions actions;
      for (const auto& chunk : shard->chunks()) chunk->OnTotalNorm(step, *norms.Total(step), actions);
    }
  }
  std::vector<float> arena;
  for (uint32_t chunk = 0; chunk < 5; ++chunk) {
    const SnapshotPointer snapshot = shards[chunk % servers]->FindChunk(chunk)->snapshot();
    EXPECT_EQ(snapshot->version(), 3u);
    arena.insert(arena.end(), snapshot->weights().begin(), snapshot->weights().end());
  }
  return arena;
}

TEST(JobShardTest, BitsDoNotDependOnTheNumberOfServers) {
  const std::vector<float> one = TrainClipped(1);
  EXPECT_EQ(one, TrainClipped(2));
  EXPECT_EQ(one, TrainClipped(5));
}

}  // namespace
}  // namespace paramd
