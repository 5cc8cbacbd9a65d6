#include "server/store/chunk.h"

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/model/initialize.h"
#include "common/partition/codec_plan.h"
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

// The optimizer's state is spoilt by then: nothing may be applied any more.
TEST_F(ChunkTest, NonFinitePolicyFailEndsTheChunk) {
  Make({.slots = 1, .optimizer = v1::OPTIMIZER_TYPE_ADAM});
  std::vector<float> gradient = Sum(0, 1, 0);
  Pull({.id = 7, .min_version = 1});
  gradient.back() = std::numeric_limits<float>::infinity();
  const ChunkActions actions = Push({.id = 8, .pull = true, .min_version = 1}, gradient);
  ASSERT_EQ(actions.answers.size(), 2u);
  for (const Answer& answer : actions.answers) {
    EXPECT_THAT(answer.status, StatusIs(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT"));
  }
  EXPECT_TRUE(actions.applied.empty());
  EXPECT_THAT(Push({}, Sum(0, 1, 0)).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT"));
  EXPECT_EQ(chunk_->version(), 0u);
}

TEST_F(ChunkTest, AsyncSkipsNonFiniteGradientsWithoutATrace) {
  const TestJobOptions options = {.mode = v1::SYNC_MODE_ASYNC,
                                  .slots = 1,
                                  .optimizer = v1::OPTIMIZER_TYPE_ADAM,
                                  .non_finite = v1::NON_FINITE_POLICY_SKIP};
  Make(options);
  Push({.step = 0}, Sum(0, 1, 0));
  const std::vector<float> before = Weights();
  std::vector<float> gradient = Sum(0, 1, 1);
  gradient[1000] = std::numeric_limits<float>::quiet_NaN();
  const ChunkActions actions = Push({.step = 1}, gradient);
  EXPECT_TRUE(actions.applied.at(0).skipped);
  EXPECT_EQ(Weights(), before);
  Push({.step = 2}, Sum(0, 1, 2));
  const std::vector<float> after = Weights();
  Make(options);
  Push({.step = 0}, Sum(0, 1, 0));
  Push({.step = 1}, Sum(0, 1, 2));  // Counts as the second update, too.
  EXPECT_EQ(Weights(), after);
}

// Waiting for the total norm stores the sum; not waiting uses it while it is made. With nothing to clip, the weights
// are the same to the bit.
TEST_F(ChunkTest, OnePassHasTheBitsOfTwo) {
  for (int type = v1::OPTIMIZER_TYPE_SGD; type <= v1::OptimizerType_MAX; ++type) {
    const auto train = [&](double clip_norm) {
      Make({.workers = 3,
            .slots = 7,
            .optimizer = static_cast<v1::OptimizerType>(type),
            .learning_rate = 0.01,
            .clip_norm = clip_norm},
           1);
      for (uint64_t step = 0; step < 4; ++step) {
        for (uint32_t slot : {6, 0, 3, 1, 5, 2, 4}) {
          std::vector<float> gradient = Sum(slot, 1, step);
          for (float& value : gradient) value = value / 3 + 0.01f * static_cast<float>(slot);
          ChunkActions actions = Push({.step = step, .subtree = {slot, 0}}, gradient);
          EXPECT_EQ(actions.norm.has_value(), slot == 4);
          if (clip_norm > 0 && slot == 4) chunk_->OnTotalNorm(step, actions.norm->squared_norm, actions);
        }
      }
      EXPECT_EQ(chunk_->version(), 4u);
      return Weights();
    };
    EXPECT_EQ(train(0), train(1e30)) << v1::OptimizerType_Name(type);
  }
}

TEST_F(ChunkTest, TakesPayloadsInFragments) {
  for (v1::SyncMode mode : {v1::SYNC_MODE_SYNC, v1::SYNC_MODE_ASYNC}) {
    Make({.mode = mode, .slots = 1});
    const std::vector<float> gradient = Sum(0, 1, 0);
    Push({}, gradient);
    const std::vector<float> expected = Weights();
    Make({.mode = mode, .slots = 1});
    const absl::string_view bytes = AsBytes(gradient);
    const std::vector<absl::string_view> fragments = {bytes.substr(0, 1), bytes.substr(1, 2000), bytes.substr(2001)};
    ChunkRequest push = TestPush(*plan_, {}, {});
    push.payload = PayloadView(fragments, bytes.size());
    ChunkActions actions;
    chunk_->Handle(push, actions);
    EXPECT_EQ(Weights(), expected);
  }
}

class ChunkCodecTest : public ChunkTest {
 protected:
  ChunkActions PushAs(v1::Codec codec, absl::string_view bytes, uint64_t step = 0) {
    ChunkRequest push = TestPush(*plan_, {.step = step}, bytes);
    push.codec = codec;
    ChunkActions actions;
    chunk_->Handle(push, actions);
    return actions;
  }
  std::string Encode(const std::vector<float>& values) {
    std::string bytes;
    EXPECT_OK(EncodeChunk(plan_->codecs, 0, values, {}, bytes));
    return bytes;
  }
};

TEST_F(ChunkCodecTest, AppliesWhatTheCodecLeaves) {
  for (v1::Codec codec :
       {v1::CODEC_FP32, v1::CODEC_BF16, v1::CODEC_FP16, v1::CODEC_INT8, v1::CODEC_TOPK, v1::CODEC_ONEBIT}) {
    SCOPED_TRACE(v1::Codec_Name(codec));
    Make({.slots = 1, .push_codec = codec});
    std::vector<float> gradient = Sum(0, 1, 0), decoded(gradient.size());
    for (float& value : gradient) value *= 0.3f;
    const std::string bytes = Encode(gradient);
    ASSERT_OK(DecodeChunk(plan_->codecs, 0, codec, bytes, absl::MakeSpan(decoded)));
    std::vector<float> expected = Weights();
    for (size_t i = 0; i < expected.size(); ++i) expected[i] -= decoded[i];
    ASSERT_OK(PushAs(codec, bytes).answers.at(0).status);
    EXPECT_EQ(Weights(), expected);
    // What is not encoded is taken for every job.
    for (size_t i = 0; i < expected.size(); ++i) expected[i] -= gradient[i];
    ASSERT_OK(PushAs(v1::CODEC_FP32, AsBytes(gradient), 1).answers.at(0).status);
    EXPECT_EQ(Weights(), expected);
  }
}

TEST_F(ChunkCodecTest, RefusesOtherCodecsAndMalformedBytes) {
  struct Case {
    v1::Codec job, push;
    size_t bytes;
    const char* reason;
  };
  const std::vector<Case> cases = {
      {v1::CODEC_FP32, v1::CODEC_BF16, 2048, "UNSUPPORTED_CODEC"},
      {v1::CODEC_BF16, v1::CODEC_FP16, 2048, "UNSUPPORTED_CODEC"},
      {v1::CODEC_BF16, v1::CODEC_UNSPECIFIED, 4096, "UNSUPPORTED_CODEC"},
      {v1::CODEC_BF16, static_cast<v1::Codec>(99), 4096, "UNSUPPORTED_CODEC"},
      {v1::CODEC_BF16, v1::CODEC_BF16, 2047, "PARAM_SHAPE_MISMATCH"},
      {v1::CODEC_BF16, v1::CODEC_BF16, 4096, "PARAM_SHAPE_MISMATCH"},
      {v1::CODEC_TOPK, v1::CODEC_TOPK, 0, "MALFORMED_PAYLOAD"},
      {v1::CODEC_TOPK, v1::CODEC_TOPK, 3, "MALFORMED_PAYLOAD"},
      {v1::CODEC_TOPK, v1::CODEC_TOPK, 100000, "MALFORMED_PAYLOAD"},
      {v1::CODEC_ONEBIT, v1::CODEC_ONEBIT, 1, "MALFORMED_PAYLOAD"},
      {v1::CODEC_INT8, v1::CODEC_INT8, 1039, "MALFORMED_PAYLOAD"},
  };
  for (const Case& c : cases) {
    Make({.slots = 1, .push_codec = c.job});
    const std::vector<float> before = Weights();
    const ChunkActions actions = PushAs(c.push, std::string(c.bytes, '\x7f'));
    EXPECT_THAT(actions.answers.at(0).status, StatusIs(absl::StatusCode::kInvalidArgument, c.reason))
        << c.job << " " << c.push << " " << c.bytes;
    EXPECT_OK(actions.failure);
    EXPECT_EQ(Weights(), before);
    EXPECT_OK(PushAs(v1::CODEC_FP32, AsBytes(Sum(0, 1, 0))).answers.at(0).status) << "the slot is still free";
  }
}

class ChunkSharedAnswerTest : public ChunkTest {
 protected:
  static constexpr float kUntouched = -77;

  ChunkRequest SharedPull(TestRequest request, v1::Codec codec = v1::CODEC_UNSPECIFIED) {
    ChunkRequest pull = TestPull(*plan_, request);
    pull.answer_codec = codec;
    memory_.assign(chunk_->elements() + 1, kUntouched);
    pull.shared_answer = absl::MakeSpan(memory_).first(chunk_->elements());
    return pull;
  }
  ChunkActions Handle(const ChunkRequest& request) {
    ChunkActions actions;
    chunk_->Handle(request, actions);
    return actions;
  }
  void ExpectWritten(const Answer& answer, v1::Codec codec) {
    ASSERT_OK(answer.status);
    EXPECT_EQ(answer.answer_codec, codec);
    EXPECT_EQ(answer.shared_answer.data(), memory_.data());
    const absl::string_view expected = answer.snapshot->payload(codec);
    ASSERT_EQ(answer.shared_answer_bytes, expected.size());
    EXPECT_EQ(AsBytes(memory_).substr(0, expected.size()), expected);
    EXPECT_EQ(memory_.back(), kUntouched);
  }

  std::vector<float> memory_;
};

TEST_F(ChunkSharedAnswerTest, WritesTheWeightsBeforeItAnswers) {
  Make({.slots = 1});
  for (v1::Codec codec : {v1::CODEC_FP32, v1::CODEC_BF16}) {
    const uint64_t next = chunk_->version() + 1;
    ExpectWritten(Handle(SharedPull({}, codec)).answers.at(0), codec);  // Ready at once.
    const ChunkRequest waiting = SharedPull({.min_version = next}, codec);
    EXPECT_TRUE(Handle(waiting).answers.empty());
    EXPECT_EQ(memory_[0], kUntouched);
    const ChunkActions actions = Push({.step = next - 1}, Sum(0, 1, next - 1));
    EXPECT_EQ(actions.answers.at(0).snapshot->version(), next);
    ExpectWritten(actions.answers.at(0), codec);
    EXPECT_EQ(actions.answers.at(1).shared_answer_bytes, 0u) << "of the push";
    // The same memory again, for the same version: its client may have used it since.
    ExpectWritten(Handle(SharedPull({.min_version = next}, codec)).answers.at(0), codec);
  }
  const Answer unspecified = Handle(SharedPull({})).answers.at(0);
  ExpectWritten(unspecified, v1::CODEC_FP32);
}

TEST_F(ChunkSharedAnswerTest, OfThePushThatCompletesTheStep) {
  for (double clip_norm : {0.0, 1.0}) {
    Make({.slots = 1, .clip_norm = clip_norm});
    const std::vector<float> gradient = Sum(0, 1, 0);
    ChunkRequest request = SharedPull({.min_version = 1});
    const ChunkRequest push = TestPush(*plan_, {}, AsBytes(gradient));
    request.push = true;
    request.slot_count = push.slot_count;
    request.payload = push.payload;
    ChunkActions actions = Handle(request);
    if (clip_norm > 0) chunk_->OnTotalNorm(0, actions.norm->squared_norm, actions);
    ExpectWritten(actions.answers.at(0), v1::CODEC_FP32);
    EXPECT_EQ(actions.answers.at(0).snapshot->version(), 1u);
  }
}

TEST_F(ChunkSharedAnswerTest, OfAClockedPushAndOfASkippedStep) {
  Make({.mode = v1::SYNC_MODE_ASYNC, .slots = 1, .non_finite = v1::NON_FINITE_POLICY_SKIP});
  EXPECT_TRUE(Handle(SharedPull({.min_version = 1, .min_clock = 1})).answers.empty());
  ExpectWritten(PushClock(0, 0).answers.at(0), v1::CODEC_FP32);
  EXPECT_TRUE(Handle(SharedPull({.min_version = 2})).answers.empty());
  std::vector<float> gradient = Sum(0, 1, 1);
  gradient[3] = std::numeric_limits<float>::quiet_NaN();
  ExpectWritten(Push({.step = 1}, gradient).answers.at(0), v1::CODEC_FP32);
}

TEST_F(ChunkSharedAnswerTest, RefusesMemoryThatIsTooSmallAndOtherCodecs) {
  Make({});
  ChunkRequest pull = SharedPull({});
  pull.shared_answer = pull.shared_answer.first(chunk_->elements() - 1);
  EXPECT_THAT(Handle(pull).answers.at(0).status, StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID"));
  pull = SharedPull({}, v1::CODEC_BF16);
  pull.shared_answer = pull.shared_answer.first(chunk_->elements() / 2);
  EXPECT_EQ(Handle(pull).answers.at(0).shared_answer_bytes, 2u * chunk_->elements());
  EXPECT_EQ(memory_[chunk_->elements() / 2], kUntouched);
  EXPECT_THAT(Handle(SharedPull({}, v1::CODEC_FP16)).answers.at(0).status,
              StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
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
