#include "worker/parameter_client/parameter_client.h"

#include <atomic>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "worker/parameter_client/fake_parameter_service.h"

namespace paramd {
namespace {

constexpr int64_t kElements = 2064;  // Chunks of 1024, 1024 and 16.

ArenaPlan TestPlan() {
  ParameterSpec parameter;
  parameter.name = "p";
  parameter.shape = {kElements};
  return ArenaPlan::Create({parameter}, 1024).value();
}

class ParameterClientTest : public testing::Test {
 protected:
  explicit ParameterClientTest(FakeParameterOptions options = {}) : service_(plan_, options) { service_.Start(); }

  ParameterClientOptions Options() const {
    ParameterClientOptions options;
    options.caller = {.job_id = "job", .generation = 1, .worker_index = 0, .worker_incarnation = 5};
    options.placement = service_.placement();
    options.reconnect = {.initial_backoff = absl::Milliseconds(5), .max_backoff = absl::Milliseconds(20)};
    return options;
  }

  void Connect() { client_ = ParameterClient::Create(Options(), plan_).value(); }

  int64_t ChunkSize(int chunk) const { return plan_.ChunkRange(chunk).size(); }

  // The chunk's part of landing_, which has the arena's size.
  absl::Span<float> Landing(int chunk) {
    landing_.resize(kElements);
    return absl::MakeSpan(landing_).subspan(plan_.ChunkRange(chunk).begin, ChunkSize(chunk));
  }

  // One sync step of the only worker on `chunk` with a gradient of `value` everywhere.
  absl::StatusOr<float> Step(int chunk, uint64_t step, float value) {
    gradient_.assign(ChunkSize(chunk), value);
    landing_.assign(ChunkSize(chunk), 0);
    RETURN_IF_ERROR(client_->PushPull(chunk, {.step = step, .slot_count = 1, .payload = gradient_},
                                      {.min_version = step + 1, .landing = absl::MakeSpan(landing_)}));
    ASSIGN_OR_RETURN(ChunkVersion version, client_->WaitForChunk(chunk));
    if (version.version != step + 1) return absl::InternalError("wrong version");
    return landing_.back();
  }

  // Fails requests of the first `count` matching attempts.
  void FailFirst(int count, Fault fault) {
    auto left = std::make_shared<int>(count);
    service_.SetFault([left, fault](const v1::ParameterRequest&) { return (*left)-- > 0 ? fault : Fault::kNone; });
  }

  const ArenaPlan plan_ = TestPlan();
  FakeParameterService service_;
  std::vector<float> gradient_;
  std::vector<float> landing_;
  std::unique_ptr<ParameterClient> client_;  // Gone before the payloads it borrows.
};

TEST_F(ParameterClientTest, PullsInitialWeights) {
  std::vector<float> initial(kElements);
  for (int64_t i = 0; i < kElements; ++i) initial[i] = static_cast<float>(i);
  service_.SetWeights(initial);
  Connect();
  ASSERT_OK(client_->WaitForConnections(absl::Seconds(10)));
  landing_.resize(kElements);
  for (int chunk = 0; chunk < 3; ++chunk) ASSERT_OK(client_->Pull(chunk, {.landing = Landing(chunk)}));
  for (int chunk = 2; chunk >= 0; --chunk) ASSERT_OK(client_->WaitForChunk(chunk));
  EXPECT_EQ(landing_, initial);
  EXPECT_EQ(client_->stats().pulled_bytes, kElements * 4);
}

TEST_F(ParameterClientTest, PushPullAppliesAndReturns) {
  Connect();
  for (uint64_t step = 0; step < 5; ++step) {
    for (int chunk = 0; chunk < 3; ++chunk) {
      ASSERT_OK_AND_ASSIGN(float weight, Step(chunk, step, 8.0f));
      EXPECT_EQ(weight, -static_cast<float>(step + 1));  // Learning rate 1/8.
    }
  }
  EXPECT_EQ(client_->stats().pushed_bytes, 5 * kElements * 4);
  EXPECT_EQ(client_->stats().retries, 0);
}

TEST_F(ParameterClientTest, BrokenStreamIsReopenedAndNothingIsAppliedTwice) {
  for (Fault fault : {Fault::kBreakBefore, Fault::kBreakAfter}) {
    FakeParameterService service(plan_, {});
    service.Start();
    ParameterClientOptions options = Options();
    options.placement = service.placement();
    std::vector<std::vector<float>> gradients;
    for (int chunk = 0; chunk < 3; ++chunk) gradients.emplace_back(ChunkSize(chunk), 8.0f);
    auto client = ParameterClient::Create(options, plan_).value();
    auto breaks = std::make_shared<std::atomic<int>>(4);
    service.SetFault([=](const v1::ParameterRequest& request) {
      return request.chunk() != 2 && (*breaks)-- > 0 ? fault : Fault::kNone;
    });
    landing_.assign(kElements, 0);
    for (int chunk = 0; chunk < 3; ++chunk) {
      ASSERT_OK(client->PushPull(chunk, {.step = 0, .slot_count = 1, .payload = gradients[chunk]},
                                 {.min_version = 1, .landing = Landing(chunk)}));
    }
    for (int chunk = 0; chunk < 3; ++chunk) ASSERT_OK(client->WaitForChunk(chunk));
    EXPECT_THAT(landing_, testing::Each(-1.0f));
    EXPECT_EQ(service.applied_pushes(), 3);
    // The same bytes each time: three distinct requests, whatever the number of attempts.
    EXPECT_EQ(service.seen().size(), 3u);
    EXPECT_GE(client->stats().reconnections, 4);
    EXPECT_GE(client->stats().retries, 4);
    EXPECT_GE(client->stats().duplicates, fault == Fault::kBreakAfter ? 1 : 0);
  }
}

TEST_F(ParameterClientTest, RetriesWhatMayBeRetried) {
  Connect();
  uint64_t step = 0;
  for (Fault fault : {Fault::kUnavailable, Fault::kDeadline, Fault::kDamagedRequest, Fault::kDamagedAnswer}) {
    FailFirst(2, fault);
    ASSERT_OK_AND_ASSIGN(float weight, Step(0, step, 8.0f));
    ++step;
    EXPECT_EQ(weight, -static_cast<float>(step)) << static_cast<int>(fault);
    EXPECT_EQ(client_->stats().retries, static_cast<int64_t>(2 * step));
  }
  EXPECT_EQ(service_.applied_pushes(), 4);
}

// Less and less often, and what the server said is not lost.
TEST_F(ParameterClientTest, RefusalThatLastsIsNamedInTheEnd) {
  ParameterClientOptions options = Options();
  options.answer_limit = absl::Milliseconds(1500);
  client_ = ParameterClient::Create(options, plan_).value();
  FailFirst(1 << 30, Fault::kUnavailable);
  const auto refused = Step(1, 0, 8.0f);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kDeadlineExceeded, "ANSWER_TIMEOUT"));
  const std::string message(refused.status().message());
  EXPECT_THAT(message, testing::HasSubstr("refused as BUSY (come back later)"));
  EXPECT_THAT(message, testing::Not(testing::HasSubstr("no answer")));
  EXPECT_LE(client_->stats().retries, 5);  // After 0, 100, 300 and 700 ms, and at 1500 ms perhaps.
}

TEST_F(ParameterClientTest, RefusalsAreLoggedOnceUntilTheServerTakesSomething) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  for (uint64_t step : {0u, 1u}) {
    if (step == 0) Connect();
    FailFirst(3, Fault::kUnavailable);
    ASSERT_OK(Step(0, step, 8.0f));
  }
  client_.reset();
  spdlog::set_default_logger(before);
  const std::vector<std::string> parts = absl::StrSplit(log.str(), "refuses chunk 0 for now");
  EXPECT_EQ(parts.size(), 3u) << log.str();
  EXPECT_THAT(log.str(), testing::HasSubstr("BUSY: come back later"));
}

TEST_F(ParameterClientTest, DamageThatLastsEndsTheClient) {
  Connect();
  FailFirst(1000, Fault::kDamagedAnswer);
  EXPECT_THAT(Step(0, 0, 8.0f), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
}

TEST_F(ParameterClientTest, RefusalIsTypedNamesChunkAndServerAndStays) {
  Connect();
  FailFirst(1, Fault::kForeign);
  const auto refused = Step(1, 0, 8.0f);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("chunk 1 on server 0 (fake at 127.0.0.1:"));
  EXPECT_THAT(Step(0, 0, 8.0f), StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
}

TEST_F(ParameterClientTest, WhatIsFencedWaitsForTheGenerationAndIsSentAgain) {
  Connect();
  // A pull that waits at the server when the generation changes, and a push that comes too late.
  std::vector<float> gradient(ChunkSize(0), 8.0f), landing(ChunkSize(1));
  ASSERT_OK(client_->Pull(1, {.min_version = 1, .landing = absl::MakeSpan(landing)}));
  while (service_.seen().empty()) absl::SleepFor(absl::Milliseconds(1));
  service_.SetGeneration(2);
  ASSERT_OK(client_->Push(0, {.step = 0, .slot_count = 1, .payload = gradient}));
  while (client_->stats().retries < 2) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(service_.applied_pushes(), 0);
  client_->Interrupt();
  EXPECT_TRUE(IsInterrupted(client_->WaitForChunk(1).status()));
  EXPECT_TRUE(IsInterrupted(client_->WaitForChunk(0).status()));
  client_->EndInterrupt();
  client_->ChangeGeneration(2, 0);
  ASSERT_OK(client_->WaitForPushes());
  EXPECT_EQ(service_.applied_pushes(), 1);
  gradient_.assign(ChunkSize(1), 8.0f);
  ASSERT_OK(client_->Push(1, {.step = 0, .slot_count = 1, .payload = gradient_}));
  ASSERT_OK(client_->WaitForChunk(1));
  EXPECT_THAT(landing, testing::Each(-1.0f));
  client_->ChangeGeneration(1, 0);  // Late news change nothing.
  ASSERT_OK(client_->Push(0, {.step = 1, .slot_count = 1, .payload = gradient}));
  ASSERT_OK(client_->WaitForPushes());
}

TEST_F(ParameterClientTest, AGenerationThatNobodyTellsOfEndsTheClient) {
  ParameterClientOptions options = Options();
  options.fence_limit = absl::ZeroDuration();
  client_ = ParameterClient::Create(options, plan_).value();
  service_.SetGeneration(2);
  EXPECT_THAT(Step(0, 0, 8.0f), StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
}

TEST_F(ParameterClientTest, ShortAnswerIsRefused) {
  Connect();
  FailFirst(1, Fault::kShortAnswer);
  EXPECT_THAT(Step(0, 0, 8.0f), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
}

TEST_F(ParameterClientTest, WhatIsNoAnswerBreaksTheStream) {
  Connect();
  FailFirst(2, Fault::kMalformed);
  ASSERT_OK_AND_ASSIGN(float weight, Step(0, 0, 8.0f));
  EXPECT_EQ(weight, -1.0f);
  EXPECT_EQ(service_.applied_pushes(), 1);
  EXPECT_EQ(client_->stats().reconnections, 2);
}

TEST_F(ParameterClientTest, ServerThatOnlyTalksNonsenseIsGivenUp) {
  ParameterClientOptions options = Options();
  options.reconnect_limit = absl::Milliseconds(300);
  client_ = ParameterClient::Create(options, plan_).value();
  FailFirst(1 << 30, Fault::kMalformed);
  const auto failed = Step(0, 0, 8.0f);
  EXPECT_THAT(failed, StatusIs(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE"));
}

TEST_F(ParameterClientTest, CancelEndsAllWaitsAtOnce) {
  Connect();
  std::vector<std::thread> waiters;
  std::atomic<int> cancelled = 0;
  for (int chunk = 0; chunk < 3; ++chunk) {
    ASSERT_OK(client_->Pull(chunk, {.min_version = 100, .landing = Landing(chunk)}));
    waiters.emplace_back([&, chunk] {
      if (absl::IsAborted(client_->WaitForChunk(chunk).status())) ++cancelled;
    });
  }
  const absl::Time start = absl::Now();
  client_->Cancel(absl::AbortedError("job released"));
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_EQ(cancelled, 3);
  client_->Cancel(absl::InternalError("later"));
  EXPECT_THAT(client_->status(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(ParameterClientTest, ServerThatNeverAnswersIsFoundOut) {
  ParameterClientOptions options = Options();
  options.request_deadline = absl::Milliseconds(50);
  options.answer_grace = absl::Milliseconds(50);
  options.answer_limit = absl::Seconds(2);
  client_ = ParameterClient::Create(options, plan_).value();
  FailFirst(1, Fault::kIgnore);  // Lost once: the stream is taken for dead and opened again.
  ASSERT_OK(Step(0, 0, 8.0f));
  EXPECT_GE(client_->stats().reconnections, 1);
  FailFirst(1 << 30, Fault::kIgnore);
  const auto lost = Step(0, 1, 8.0f);
  EXPECT_THAT(lost, StatusIs(absl::StatusCode::kDeadlineExceeded, "ANSWER_TIMEOUT"));
}

TEST_F(ParameterClientTest, ServerThatComesBackInTimeIsUsedAgain) {
  Connect();
  ASSERT_OK(Step(0, 0, 8.0f));
  service_.Stop();
  gradient_.assign(1024, 8.0f);
  ASSERT_OK(client_->PushPull(0, {.step = 1, .slot_count = 1, .payload = gradient_},
                              {.min_version = 2, .landing = Landing(0)}));
  absl::SleepFor(absl::Milliseconds(100));
  service_.Start();
  ASSERT_OK(client_->WaitForChunk(0));
  EXPECT_EQ(landing_[0], -2.0f);
}

TEST_F(ParameterClientTest, UnreachableServerIsNamed) {
  ParameterClientOptions options = Options();
  options.reconnect_limit = absl::Milliseconds(300);
  service_.Stop();
  client_ = ParameterClient::Create(options, plan_).value();
  EXPECT_THAT(client_->WaitForConnections(absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE"));
  const auto failed = Step(0, 0, 8.0f);
  EXPECT_THAT(failed, StatusIs(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE"));
  EXPECT_THAT(std::string(failed.status().message()), testing::HasSubstr("fake at 127.0.0.1:"));
}

TEST_F(ParameterClientTest, RefusesWrongUse) {
  Connect();
  const std::vector<float> wrong(1023);
  EXPECT_THAT(client_->Pull(3, {.landing = Landing(0)}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client_->Pull(-1, {.landing = Landing(0)}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client_->Pull(2, {.landing = Landing(0)}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client_->Push(0, {.payload = wrong}), StatusIs(absl::StatusCode::kInvalidArgument));
  const std::vector<float> right(1024);
  std::vector<float> residual(1023);
  EXPECT_THAT(client_->Push(0, {.payload = right, .residual = absl::MakeSpan(residual)}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client_->WaitForChunk(3), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK(client_->Pull(0, {.min_version = 9, .landing = Landing(0)}));
  EXPECT_THAT(client_->Pull(0, {.landing = Landing(0)}), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ParameterClientTest, OpenRequestsAreBounded) {
  ParameterClientOptions options = Options();
  options.max_open_requests = 2;
  client_ = ParameterClient::Create(options, plan_).value();
  ASSERT_OK(client_->Pull(0, {.min_version = 9, .landing = Landing(0)}));
  ASSERT_OK(client_->Pull(1, {.min_version = 9, .landing = Landing(1)}));
  EXPECT_THAT(client_->Pull(2, {.landing = Landing(2)}), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(ParameterClientTest, RefusesPlacementsThatDoNotFit) {
  const auto create = [&](auto change) {
    ParameterClientOptions options = Options();
    change(options);
    return ParameterClient::Create(options, plan_).status();
  };
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT");
  EXPECT_THAT(create([](auto& o) { o.placement.clear_servers(); }), refused);
  EXPECT_THAT(create([](auto& o) { o.placement.add_chunk_server(0); }), refused);
  EXPECT_THAT(create([](auto& o) { o.placement.set_chunk_server(1, 1); }), refused);
  EXPECT_THAT(create([](auto& o) { o.placement.set_arena_elements(1); }), refused);
  EXPECT_THAT(create([](auto& o) { o.caller.worker_index = 1; }), refused);
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(create([](auto& o) { o.streams_per_server = 0; }), invalid);
  EXPECT_THAT(create([](auto& o) { o.streams_per_server = kMaxStreamsPerServer + 1; }), invalid);
  EXPECT_THAT(create([](auto& o) { o.max_bytes_in_flight = -1; }), invalid);
}

// A payload is borrowed, not read, once its chunk has been waited for.
TEST_F(ParameterClientTest, DestructionWithOpenRequestsEnds) {
  Connect();
  gradient_.assign(1024, 1.0f);
  ASSERT_OK(client_->PushPull(0, {.step = 0, .slot_count = 1, .payload = gradient_},
                              {.min_version = 50, .landing = Landing(0)}));
  client_.reset();
}

}  // namespace
}  // namespace paramd
