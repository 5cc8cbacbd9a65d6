#include "server/store/chunk.h"

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/model/initialize.h"
#include "common/tensor/reduce.h"
#include "gtest/gtest.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

using testing::HasSubstr;

class ChunkTest : public testing::Test {
 protected:
  void Make(const TestJobOptions& options, int index = 0) {
    auto plan = JobPlan::Create(TestAssignment(options), 0);
    ASSERT_OK(plan);
    plan_ = *plan;
    chunk_ = std::make_unique<Chunk>(plan_, index, BufferPool::Create());
    chunk_->Initialize();
  }

  std::vector<float> Sum(uint32_t first, uint32_t slots, uint64_t step) {
    return TestGradientSum(chunk_->elements(), first, slots, step, chunk_->index());
  }

  ChunkActions Push(TestRequest request, const std::vector<float>& payload) {
    request.chunk = chunk_->index();
    ChunkActions actions;
    chunk_->Handle(TestPush(*plan_, request, AsBytes(payload)), actions);
    return actions;
  }
  // The worker's whole gradient of `step`, in ssp and async.
  ChunkActions PushClock(uint32_t worker, uint64_t step) {
    const v1::WorkerPlacement& placed = plan_->placement.workers(worker);
    return Push({.worker = worker, .step = step}, Sum(placed.first_slot(), placed.slot_count(), step));
  }
  ChunkActions Pull(TestRequest request) {
    request.chunk = chunk_->index();
    ChunkActions actions;
    chunk_->Handle(TestPull(*plan_, request), actions);
    return actions;
  }
  std::vector<float> Weights() const {
    return {chunk_->snapshot()->weights().begin(), chunk_->snapshot()->weights().end()};
  }

  std::shared_ptr<const JobPlan> plan_;
  std::unique_ptr<Chunk> chunk_;
};

TEST_F(ChunkTest, StartsWithTheModelsInitialWeights) {
  Make({}, 2);
  std::vector<float> expected(chunk_->elements());
  InitializeArenaRange(plan_->arena, 7, plan_->arena.ChunkRange(2).begin, absl::MakeSpan(expected));
  EXPECT_EQ(Weights(), expected);
  EXPECT_EQ(chunk_->version(), 0u);
}

TEST_F(ChunkTest, SyncAppliesTheMeanOnceAllSlotsAreIn) {
  Make({.workers = 2, .slots = 4});
  const std::vector<float> before = Weights(), low = Sum(0, 2, 0), high = Sum(2, 2, 0);
  ChunkActions actions = Push({.id = 5, .worker = 1, .subtree = {2, 1}, .pull = true, .min_version = 1}, high);
  EXPECT_TRUE(actions.answers.empty());
  EXPECT_EQ(chunk_->waiting(), 1u);
  actions = Push({.id = 6, .worker = 0, .subtree = {0, 1}}, low);
  ASSERT_EQ(actions.answers.size(), 2u);
  EXPECT_EQ(actions.answers[0].key.request_id, 5u);
  EXPECT_EQ(actions.answers[0].snapshot->version(), 1u);
  EXPECT_EQ(actions.answers[1].key.request_id, 6u);
  EXPECT_EQ(actions.answers[1].snapshot, nullptr);
  ASSERT_EQ(actions.applied.size(), 1u);
  const std::vector<float> after = Weights();
  for (size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i], before[i] - (low[i] + high[i]) * 0.25f) << i;
}

TEST_F(ChunkTest, SyncAcknowledgesOldAndRepeatedPushesWithoutApplying) {
  Make({.slots = 2});
  ASSERT_OK(Push({.subtree = {0, 0}}, Sum(0, 1, 0)).answers.at(0).status);
  EXPECT_TRUE(Push({.subtree = {0, 0}}, Sum(0, 1, 0)).answers.at(0).duplicate);
  EXPECT_FALSE(Push({.subtree = {1, 0}}, Sum(1, 1, 0)).answers.at(0).duplicate);
  const std::vector<float> after = Weights();
  const ChunkActions late = Push({.subtree = {0, 1}, .pull = true, .min_version = 1}, Sum(0, 2, 0));
  EXPECT_TRUE(late.answers.at(0).duplicate);
  EXPECT_NE(late.answers.at(0).snapshot, nullptr);
  EXPECT_EQ(Weights(), after);
  EXPECT_EQ(chunk_->version(), 1u);
}

TEST_F(ChunkTest, RefusesBadPushes) {
  Make({.slots = 4, .steps = 3});
  const std::vector<float> good = Sum(0, 1, 0);
  const std::vector<float> wrong_size(good.begin(), good.end() - 1);
  EXPECT_THAT(Push({.step = 1}, good).answers.at(0).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, "STEP_AHEAD"));
  EXPECT_THAT(Push({.step = 3}, good).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "STEP_OUT_OF_RANGE"));
  EXPECT_THAT(Push({.subtree = {1, 1}}, good).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE"));
  EXPECT_THAT(Push({}, wrong_size).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  ASSERT_OK(Push({.subtree = {1, 0}}, good).answers.at(0).status);
  EXPECT_THAT(Push({.subtree = {0, 1}}, good).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "SUBTREE_OVERLAPS"));
  EXPECT_THAT(Pull({.min_version = 4}).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "STEP_OUT_OF_RANGE"));
}

TEST_F(ChunkTest, PublishedSnapshotsNeverChange) {
  Make({.slots = 1});
  const SnapshotPointer old = chunk_->snapshot();
  const std::vector<float> copy = Weights();
  for (uint64_t step = 0; step < 5; ++step) Push({.step = step}, Sum(0, 1, step));
  EXPECT_EQ(chunk_->version(), 5u);
  EXPECT_EQ(std::vector<float>(old->weights().begin(), old->weights().end()), copy);
}

TEST_F(ChunkTest, ClippingWaitsForTheTotalNorm) {
  Make({.slots = 1, .clip_norm = 2});
  const std::vector<float> before = Weights(), gradient = Sum(0, 1, 0);
  ChunkActions actions = Push({.pull = true, .min_version = 1}, gradient);
  ASSERT_TRUE(actions.norm.has_value());
  EXPECT_EQ(actions.norm->squared_norm, SquaredNorm(gradient, 1));
  EXPECT_TRUE(actions.answers.empty());
  actions = {};
  chunk_->OnTotalNorm(1, 1e4, actions);  // Of another step: ignored.
  EXPECT_EQ(chunk_->version(), 0u);
  chunk_->OnTotalNorm(0, 1e4, actions);
  chunk_->OnTotalNorm(0, 1e4, actions);  // Again: ignored.
  ASSERT_EQ(actions.answers.size(), 1u);
  EXPECT_EQ(chunk_->version(), 1u);
  const float clip = static_cast<float>(2 / (100 + 1e-6));
  for (size_t i = 0; i < before.size(); ++i) ASSERT_EQ(Weights()[i], before[i] - gradient[i] * clip) << i;
}

TEST_F(ChunkTest, NonFinitePolicyFail) {
  Make({.slots = 1});
  const std::vector<float> before = Weights();
  std::vector<float> gradient = Sum(0, 1, 0);
  gradient[17] = std::numeric_limits<float>::quiet_NaN();
  const ChunkActions actions = Push({}, gradient);
  EXPECT_THAT(actions.failure, StatusIs(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT"));
  EXPECT_THAT(actions.answers.at(0).status, StatusIs(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT"));
  EXPECT_EQ(Weights(), before);
}

TEST_F(ChunkTest, NonFinitePolicySkipKeepsTheWeightsAndCounts) {
  Make({.slots = 1, .non_finite = v1::NON_FINITE_POLICY_SKIP});
  const std::vector<float> before = Weights();
  std::vector<float> gradient = Sum(0, 1, 0);
  gradient[17] = std::numeric_limits<float>::infinity();
  ChunkActions actions = Push({}, gradient);
  ASSERT_TRUE(actions.norm.has_value());
  chunk_->OnTotalNorm(0, actions.norm->squared_norm, actions);
  ASSERT_EQ(actions.applied.size(), 1u);
  EXPECT_TRUE(actions.applied[0].skipped);
  EXPECT_EQ(chunk_->version(), 1u);
  EXPECT_EQ(Weights(), before);
}

TEST_F(ChunkTest, AsyncAppliesEachClockOnce) {
  Make({.mode = v1::SYNC_MODE_ASYNC, .workers = 2, .slots = 4});
  std::vector<float> expected = Weights();
  for (uint64_t step = 0; step < 3; ++step) {
    const std::vector<float> sum = Sum(2, 2, step);
    EXPECT_FALSE(PushClock(1, step).answers.at(0).duplicate);
    EXPECT_TRUE(PushClock(1, step).answers.at(0).duplicate);
    for (size_t i = 0; i < sum.size(); ++i) expected[i] -= sum[i] * 0.5f;
  }
  EXPECT_EQ(Weights(), expected);
  EXPECT_EQ(chunk_->version(), 3u);
  EXPECT_EQ(chunk_->slowest_clock(), 0u);
  EXPECT_THAT(PushClock(1, 4).answers.at(0).status, StatusIs(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP"));
  EXPECT_EQ(PushClock(0, 0).applied.at(0).staleness, 0u);
  EXPECT_EQ(PushClock(1, 3).applied.at(0).staleness, 2u);
}

TEST_F(ChunkTest, SspHoldsTheBoundWhateverTheClientAsksFor) {
  Make({.mode = v1::SYNC_MODE_SSP, .staleness = 2, .workers = 2, .slots = 2});
  for (uint64_t step = 0; step < 2; ++step) PushClock(0, step);
  EXPECT_EQ(Pull({.worker = 0}).answers.size(), 1u);  // 2 ahead.
  PushClock(0, 2);
  EXPECT_TRUE(Pull({.worker = 0, .min_clock = 0}).answers.empty());  // 3 ahead.
  EXPECT_EQ(Pull({.worker = 1}).answers.size(), 1u);
  const ChunkActions actions = PushClock(1, 0);
  ASSERT_EQ(actions.answers.size(), 2u);
  EXPECT_EQ(actions.answers[0].min_clock, 1u);
}

TEST_F(ChunkTest, WaitsEndAtTheirDeadlineAndNameWhomTheyWaitedFor) {
  Make({.workers = 2, .slots = 2});
  Push({.worker = 0, .subtree = {0, 0}}, Sum(0, 1, 0));
  ChunkRequest pull = TestPull(*plan_, {.id = 9, .min_version = 1});
  pull.deadline = absl::UnixEpoch() + absl::Seconds(10);
  ChunkActions actions;
  chunk_->Handle(pull, actions);
  EXPECT_EQ(chunk_->next_deadline(), pull.deadline);
  chunk_->Tick(pull.deadline - absl::Nanoseconds(1), actions);
  EXPECT_TRUE(actions.answers.empty());
  chunk_->Tick(pull.deadline, actions);
  ASSERT_EQ(actions.answers.size(), 1u);
  EXPECT_THAT(actions.answers[0].status, StatusIs(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED"));
  EXPECT_THAT(std::string(actions.answers[0].status.message()), HasSubstr("worker worker-1"));
  EXPECT_EQ(chunk_->next_deadline(), absl::InfiniteFuture());
}

TEST_F(ChunkTest, WaitingPullsAreBoundedAndForgottenWithTheirStream) {
  Make({});
  for (uint64_t id = 0; id < Chunk::kMaxWaitingPerWorker; ++id) {
    EXPECT_TRUE(Pull({.id = id, .stream = 1 + id % 2, .min_version = 1}).answers.empty());
  }
  EXPECT_THAT(Pull({.id = 99, .min_version = 1}).answers.at(0).status,
              StatusIs(absl::StatusCode::kResourceExhausted, "TOO_MANY_WAITING"));
  chunk_->DropStream(1);
  EXPECT_EQ(chunk_->waiting(), Chunk::kMaxWaitingPerWorker / 2);
}

TEST_F(ChunkTest, FailAnswersAllThatWaitsAndAllThatComes) {
  Make({});
  Pull({.min_version = 1});
  ChunkActions actions;
  chunk_->Fail(absl::AbortedError("over"), actions);
  chunk_->Fail(absl::InternalError("later"), actions);
  ASSERT_EQ(actions.answers.size(), 1u);
  EXPECT_EQ(actions.answers[0].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Pull({}).answers.at(0).status.code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace paramd
