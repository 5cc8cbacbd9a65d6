#include "server/service/checkpoint_capture.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "server/store/job_shard.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

class CheckpointCaptureTest : public testing::Test {
 protected:
  void Start(const TestJobOptions& options) {
    auto plan = JobPlan::Create(TestAssignment(options), 0);
    ASSERT_OK(plan);
    shard_ = std::make_unique<JobShard>(*plan);
    for (const auto& chunk : shard_->chunks()) chunk->Initialize();
    capture_ = std::make_unique<CheckpointCapture>(shard_->chunks().size(), (*plan)->synchronous());
  }
  // One worker's push to a chunk, and what the chunk's thread does after it.
  void Push(int index, uint64_t step, uint32_t worker = 0) {
    Chunk& chunk = *shard_->chunks()[index];
    const std::vector<float> sum = TestGradientSum(chunk.elements(), 0, 4, step, index);
    const absl::string_view bytes(reinterpret_cast<const char*>(sum.data()), sum.size() * sizeof(float));
    ChunkActions actions;
    chunk.Handle(
        TestPush(shard_->plan(),
                 {.worker = worker, .chunk = static_cast<uint32_t>(index), .step = step, .subtree = {0, 2}}, bytes),
        actions);
    ASSERT_EQ(actions.applied.size(), 1u);
    if (capture_->wanted()) capture_->Offer(chunk);
  }
  void Begin(uint64_t step) {
    capture_->Begin(step, [this](absl::StatusOr<std::vector<ChunkCapture>> captured) {
      ++calls_;
      captured_ = std::move(captured);
    });
    for (const auto& chunk : shard_->chunks()) capture_->Offer(*chunk);
  }

  std::unique_ptr<JobShard> shard_;
  std::unique_ptr<CheckpointCapture> capture_;
  int calls_ = 0;
  absl::StatusOr<std::vector<ChunkCapture>> captured_ = absl::UnknownError("");
};

TEST_F(CheckpointCaptureTest, EachChunkAtItsOwnTimeAndNoLater) {
  Start({.optimizer = v1::OPTIMIZER_TYPE_ADAMW, .learning_rate = 0.01});
  const int chunks = static_cast<int>(shard_->chunks().size());
  Begin(2);
  std::vector<std::vector<float>> weights, states;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    EXPECT_EQ(calls_, 0);
    Push(chunk, 0);
    Push(chunk, 1);
    const ChunkCapture now = shard_->chunks()[chunk]->Capture();
    weights.emplace_back(now.weights->weights().begin(), now.weights->weights().end());
    states.emplace_back(now.state.span().begin(), now.state.span().end());
    Push(chunk, 2);  // It goes on while the others have not come so far.
  }
  ASSERT_EQ(calls_, 1);
  ASSERT_OK(captured_);
  ASSERT_EQ(captured_->size(), static_cast<size_t>(chunks));
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const ChunkCapture& capture = (*captured_)[chunk];
    EXPECT_EQ(capture.chunk, static_cast<uint32_t>(chunk));
    EXPECT_EQ(capture.version, 2u);
    EXPECT_EQ(capture.updates, 2u);
    EXPECT_EQ(std::memcmp(capture.weights->weights().data(), weights[chunk].data(), weights[chunk].size() * 4), 0);
    ASSERT_EQ(static_cast<size_t>(capture.state.size()), states[chunk].size());
    EXPECT_EQ(std::memcmp(capture.state.data(), states[chunk].data(), states[chunk].size() * 4), 0);
  }
  EXPECT_FALSE(capture_->wanted());
}

TEST_F(CheckpointCaptureTest, AtOnceWhereTheStepIsReachedAndNeverBeyond) {
  Start({});
  for (size_t chunk = 0; chunk < shard_->chunks().size(); ++chunk) Push(static_cast<int>(chunk), 0);
  Begin(1);
  ASSERT_EQ(calls_, 1);
  ASSERT_OK(captured_);
  Push(3, 1);
  Begin(1);
  EXPECT_EQ(calls_, 2);
  EXPECT_THAT(captured_, StatusIs(absl::StatusCode::kOutOfRange, "CHECKPOINT_MISSED"));
  EXPECT_EQ(GetErrorMetadata(captured_.status()).at("version"), "2");
  EXPECT_FALSE(capture_->wanted());
}

TEST_F(CheckpointCaptureTest, ANewOneTakesThePlaceOfTheOld) {
  Start({});
  Begin(1);
  Push(0, 0);
  Begin(2);
  capture_->Cancel();
  for (size_t chunk = 1; chunk < shard_->chunks().size(); ++chunk) Push(static_cast<int>(chunk), 0);
  for (size_t chunk = 0; chunk < shard_->chunks().size(); ++chunk) Push(static_cast<int>(chunk), 1);
  EXPECT_EQ(calls_, 0);
}

// ssp, async: a chunk is taken when the slowest worker's pushes are in it, with what the others have pushed since.
TEST_F(CheckpointCaptureTest, ByTheSlowestWorkerWhereThereAreClocks) {
  Start({.mode = v1::SYNC_MODE_ASYNC, .workers = 2});
  const int chunks = static_cast<int>(shard_->chunks().size());
  for (int chunk = 0; chunk < chunks; ++chunk) {
    for (uint64_t step = 0; step < 3; ++step) Push(chunk, step, 0);
  }
  Begin(1);
  EXPECT_EQ(calls_, 0);
  for (int chunk = 0; chunk < chunks; ++chunk) Push(chunk, 0, 1);
  ASSERT_EQ(calls_, 1);
  ASSERT_OK(captured_);
  EXPECT_EQ((*captured_)[0].clocks, (std::vector<uint64_t>{3, 1}));
  EXPECT_EQ((*captured_)[0].version, 4u);
}

}  // namespace
}  // namespace paramd
