// A chunk whose job's workers change.
#include <memory>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/tensor/reduce.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/chunk.h"
#include "server/store/job_members.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

class ChunkMembersTest : public testing::Test {
 protected:
  void Make(const TestJobOptions& options) {
    assignment_ = TestAssignment(options);
    auto plan = JobPlan::Create(assignment_, 0);
    ASSERT_OK(plan.status());
    plan_ = *plan;
    chunk_ = std::make_unique<Chunk>(plan_, 0, BufferPool::Create());
    chunk_->Initialize();
  }

  // The next generation: the workers whose test index is in `staying`, with equal parts of the slots; those of index
  // plan_->worker_count() and more are new.
  ChunkActions Adopt(const std::vector<uint32_t>& staying) {
    ++generation_;
    v1::Placement placement;
    const std::vector<SlotRange> ranges = DealSlots(plan_->slots(), static_cast<uint32_t>(staying.size()));
    for (size_t i = 0; i < staying.size(); ++i) {
      const bool old = staying[i] < plan_->worker_count();
      v1::WorkerPlacement& worker = *placement.add_workers();
      if (old) {
        worker = assignment_.placement().workers(static_cast<int>(staying[i]));
      } else {
        worker.set_joined_generation(generation_);
      }
      worker.set_incarnation(TestIncarnation(staying[i]));
      worker.set_first_slot(ranges[i].first);
      worker.set_slot_count(ranges[i].count);
    }
    auto members = JobMembers::Create(generation_, placement, plan_->slots());
    EXPECT_OK(members.status());
    ChunkActions actions;
    chunk_->Adopt(*members, actions);
    return actions;
  }

  ChunkRequest Header(ChunkRequest request, uint32_t index, uint32_t test_index) const {
    request.generation = generation_;
    request.worker = index;
    request.worker_incarnation = TestIncarnation(test_index);
    return request;
  }
  // A push of slots [subtree] by the worker with that index in this generation, and in the test.
  ChunkActions Push(uint32_t index, uint32_t test_index, uint64_t step, Subtree subtree, bool pull = false) {
    const uint32_t slots = plan_->tree.SlotsIn(subtree);
    payload_ = TestGradientSum(chunk_->elements(), subtree.first_slot, slots, step, 0);
    ChunkRequest request = TestPush(*plan_, {.step = step, .subtree = subtree}, AsBytes(payload_));
    request.slot_count = slots;
    request.pull = pull;
    request.min_version = pull ? step + 1 : 0;
    ChunkActions actions;
    chunk_->Handle(Header(request, index, test_index), actions);
    return actions;
  }
  ChunkActions Pull(uint64_t version, bool exact, uint64_t min_clock = 0) {
    ChunkRequest request = TestPull(*plan_, {.min_version = version, .min_clock = min_clock});
    request.exact_version = exact;
    ChunkActions actions;
    chunk_->Handle(Header(request, 0, first_), actions);
    return actions;
  }
  std::vector<float> Weights() const {
    return {chunk_->snapshot()->weights().begin(), chunk_->snapshot()->weights().end()};
  }

  uint64_t generation_ = kTestGeneration;
  uint32_t first_ = 0;  // The test's index of worker 0.
  v1::JobAssignment assignment_;
  std::shared_ptr<const JobPlan> plan_;
  std::unique_ptr<Chunk> chunk_;
  std::vector<float> payload_;
};

TEST_F(ChunkMembersTest, RefusesWhatIsNotOfThisGeneration) {
  Make({.workers = 2});
  const auto refused = [&](auto change, absl::StatusCode code, const char* reason) {
    const std::vector<float> payload(chunk_->elements(), 1.0f);
    for (bool push : {true, false}) {
      ChunkRequest request = push ? TestPush(*plan_, {.subtree = {0, 1}}, AsBytes(payload)) : TestPull(*plan_, {});
      change(request);
      ChunkActions actions;
      chunk_->Handle(request, actions);
      ASSERT_EQ(actions.answers.size(), 1u);
      EXPECT_THAT(actions.answers[0].status, StatusIs(code, reason));
    }
    EXPECT_EQ(chunk_->open_step().missing.size(), 1u) << "nothing of it was taken";
    EXPECT_EQ(chunk_->open_step().missing[0].count, 4u);
  };
  const absl::StatusCode failed = absl::StatusCode::kFailedPrecondition;
  refused([](ChunkRequest& r) { --r.generation; }, failed, "GENERATION_FENCED");
  refused([](ChunkRequest& r) { ++r.generation; }, absl::StatusCode::kUnavailable, "GENERATION_UNKNOWN");
  refused([](ChunkRequest& r) { ++r.worker_incarnation; }, failed, "INCARNATION_FENCED");
  refused([](ChunkRequest& r) { r.worker = 2; }, absl::StatusCode::kInvalidArgument, "INVALID_WORKER");
}

TEST_F(ChunkMembersTest, KeepsTheLedgerFencesTheOldAndTakesTheRestInPieces) {
  Make({.workers = 2, .slots = 4});
  EXPECT_OK(Push(0, 0, 0, {0, 1}).answers.at(0).status);
  EXPECT_TRUE(Pull(1, false).answers.empty());
  // Worker 1 goes, worker 2 comes.
  const ChunkActions adopted = Adopt({0, 2});
  ASSERT_EQ(adopted.answers.size(), 1u) << "who waits must learn of the generation";
  EXPECT_THAT(adopted.answers[0].status, StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  EXPECT_EQ(chunk_->open_step().step, 0u);
  ASSERT_EQ(chunk_->open_step().missing.size(), 1u);
  EXPECT_EQ(chunk_->open_step().missing[0].first, 2u);
  EXPECT_EQ(chunk_->open_step().missing[0].count, 2u);
  // The one that went is refused, and so is who has not heard of it.
  EXPECT_THAT(Push(1, 1, 0, {2, 1}).answers.at(0).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
  --generation_;
  EXPECT_THAT(Push(0, 0, 0, {0, 1}).answers.at(0).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  ++generation_;
  EXPECT_TRUE(Push(0, 0, 0, {0, 1}).answers.at(0).duplicate);
  EXPECT_OK(Push(0, 0, 0, {2, 0}).answers.at(0).status);
  EXPECT_OK(Push(1, 2, 0, {3, 0}).answers.at(0).status);
  EXPECT_EQ(chunk_->version(), 1u);
  const std::vector<float> weights = Weights();
  // The same as if nobody had gone.
  Make({.workers = 2, .slots = 4});
  generation_ = kTestGeneration;
  Push(0, 0, 0, {0, 1});
  Push(1, 1, 0, {2, 1});
  EXPECT_EQ(Weights(), weights);
}

TEST_F(ChunkMembersTest, AnOlderGenerationIsNotAdopted) {
  Make({.workers = 2});
  Adopt({0});
  generation_ -= 2;
  Adopt({0, 1});  // kTestGeneration.
  generation_ = kTestGeneration + 1;
  EXPECT_THAT(Push(1, 1, 0, {2, 1}).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_WORKER"));
}

TEST_F(ChunkMembersTest, AStepThatWaitsForItsNormIsComplete) {
  Make({.workers = 2, .clip_norm = 1});
  Push(0, 0, 0, {0, 1});
  Push(1, 1, 0, {2, 1});
  ASSERT_EQ(chunk_->version(), 0u);
  Adopt({0});
  EXPECT_EQ(chunk_->open_step().step, 1u);
  ASSERT_EQ(chunk_->open_step().missing.size(), 1u);
  EXPECT_EQ(chunk_->open_step().missing[0].count, 4u);
}

TEST_F(ChunkMembersTest, NothingIsMissingAfterTheLastStep) {
  Make({.workers = 1, .steps = 1});
  Push(0, 0, 0, {0, 2});
  EXPECT_EQ(chunk_->open_step().step, 1u);
  EXPECT_TRUE(chunk_->open_step().missing.empty());
}

TEST_F(ChunkMembersTest, TheWeightsBeforeTheOpenStepStayUntilItsFirstPush) {
  Make({.workers = 2, .slots = 4});
  const std::vector<float> initial = Weights();
  Push(0, 0, 0, {0, 1});
  Push(1, 1, 0, {2, 1});
  ChunkActions actions = Pull(0, true);
  ASSERT_OK(actions.answers.at(0).status);
  EXPECT_EQ(actions.answers[0].version, 0u);
  const absl::Span<const float> past = actions.answers[0].snapshot->weights();
  EXPECT_EQ(std::vector<float>(past.begin(), past.end()), initial);
  EXPECT_EQ(Pull(1, true).answers.at(0).version, 1u);
  Push(0, 0, 1, {0, 1});
  EXPECT_THAT(Pull(0, true).answers.at(0).status, StatusIs(absl::StatusCode::kFailedPrecondition, "VERSION_GONE"));
  EXPECT_EQ(Pull(1, true).answers.at(0).version, 1u);
}

TEST_F(ChunkMembersTest, ADeadWorkersClockNoLongerHoldsUpTheOthers) {
  Make({.mode = v1::SYNC_MODE_SSP, .staleness = 1, .workers = 2});
  for (uint64_t clock = 0; clock < 2; ++clock) EXPECT_OK(Push(0, 0, clock, {0, 1}).answers.at(0).status);
  EXPECT_TRUE(Pull(0, false).answers.empty()) << "worker 1 has pushed nothing";
  EXPECT_EQ(Adopt({0}).answers.size(), 1u);
  EXPECT_OK(Pull(0, false).answers.at(0).status);
  EXPECT_EQ(chunk_->slowest_clock(), 2u);
  // With all slots, from its next clock on; a clock that was under way still has the old ones.
  EXPECT_OK(Push(0, 0, 2, {0, 1}).answers.at(0).status);
  EXPECT_OK(Push(0, 0, 3, {0, 2}).answers.at(0).status);
  EXPECT_TRUE(Push(0, 0, 3, {0, 2}).answers.at(0).duplicate);
}

TEST_F(ChunkMembersTest, AClockThatJoinsStartsAtTheSlowestAndMayJumpOnce) {
  Make({.mode = v1::SYNC_MODE_SSP, .staleness = 2, .workers = 1, .slots = 4});
  for (uint64_t clock = 0; clock < 3; ++clock) Push(0, 0, clock, {0, 2});
  Adopt({0, 1});
  EXPECT_EQ(chunk_->slowest_clock(), 3u);
  for (uint64_t clock = 3; clock < 6; ++clock) Push(0, 0, clock, {0, 1});
  EXPECT_EQ(chunk_->slowest_clock(), 3u) << "the newcomer counts before it has pushed";
  EXPECT_OK(Push(1, 1, 4, {2, 1}).answers.at(0).status);
  EXPECT_EQ(chunk_->slowest_clock(), 5u);
  EXPECT_THAT(Push(1, 1, 6, {2, 1}).answers.at(0).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP"));
  EXPECT_TRUE(Push(1, 1, 4, {2, 1}).answers.at(0).duplicate);
}

}  // namespace
}  // namespace paramd
