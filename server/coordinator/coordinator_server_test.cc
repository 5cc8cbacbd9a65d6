// The whole coordinator over a real port and its clients, with fake daemons: jobs, watches, traces, its start and stop.
#include "server/coordinator/coordinator_server.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/base/thread_sanitizer.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/testing/coordinator_server_fixture.h"

namespace paramd {
namespace {

using testing::HasSubstr;

class CoordinatorServerTest : public CoordinatorServerFixture {};

TEST_F(CoordinatorServerTest, RunsAJobToItsEndAndTellsWatchers) {
  StartServer();
  AddServer("s0");
  AddServer("s1");
  AddWorker("w0");
  AddWorker("w1");
  const std::string job_id = Submit(Spec(2, 2));
  EXPECT_THAT(job_id, testing::MatchesRegex("tiny-[a-z0-9]{6}"));
  const std::vector<v1::WatchJobResponse> updates = Watch(job_id, 0);
  EXPECT_OK(watch_status_);
  ASSERT_FALSE(updates.empty());
  EXPECT_TRUE(updates.front().has_job());
  ASSERT_TRUE(updates.back().has_job());
  const v1::Job& job = updates.back().job();
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(job.final_weights_sha256(), "0123abcd");
  EXPECT_EQ(job.progress().step(), 20u);
  EXPECT_DOUBLE_EQ(job.progress().loss(), 0.5);
  EXPECT_DOUBLE_EQ(job.progress().first_loss(), 0.5);
  EXPECT_DOUBLE_EQ(job.progress().validation_loss(), 0.5);
  EXPECT_DOUBLE_EQ(job.progress().validation_accuracy(), 0.5);
  EXPECT_DOUBLE_EQ(job.progress().tokens_per_second(), 20 * 4 * 8);  // Samples of an MLP, in one second.
  std::vector<std::string> reasons;
  for (const auto& update : updates) {
    if (!update.has_event()) continue;
    reasons.push_back(update.event().reason());
    EXPECT_EQ(update.event().sequence(), reasons.size());
  }
  EXPECT_THAT(reasons, testing::ElementsAre("SUBMITTED", "SCHEDULED", "SERVERS_PREPARED", "STARTED", "EVALUATED",
                                            "TRAINING_FINISHED", "WEIGHTS_SAVED", "SUCCEEDED"));
  EXPECT_THAT(Cancel(job_id, false), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_ALREADY_FINISHED"));
}

TEST_F(CoordinatorServerTest, WatchResumesAfterASequence) {
  StartServer();
  AddServer("s0");
  AddWorker("w0");
  const std::string job_id = Submit(Spec(1));
  WaitForEnd(job_id);
  uint64_t expected = 4;
  for (const auto& update : Watch(job_id, 3)) {
    if (update.has_event()) {
      EXPECT_EQ(update.event().sequence(), expected++);
    }
  }
  EXPECT_EQ(expected, 9u);
  Watch("no-such-job", 0);
  EXPECT_THAT(watch_status_, StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
}

TEST_F(CoordinatorServerTest, FailsAModelLargerThanTheServers) {
  StartServer();
  Add({.node_id = "s0", .role = v1::NODE_ROLE_SERVER, .memory_limit_bytes = 1000});
  const v1::Job job = WaitForEnd(Submit(Spec(1)));
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(FromRpcStatus(job.error()), StatusIs(absl::StatusCode::kResourceExhausted, "MODEL_TOO_LARGE"));
}

TEST_F(CoordinatorServerTest, CancelWithSaveTakesTheFarthestWorkersStep) {
  StartServer();
  AddServer("s0");
  FakeDaemon& behind = AddWorker("w0", false, 6);
  AddWorker("w1", false, 7);
  const std::string job_id = Submit(Spec(2));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  EXPECT_THAT(Delete(job_id), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_FINISHED"));
  ASSERT_OK(Cancel(job_id, true));
  const v1::Job job = WaitForEnd(job_id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(job.progress().step(), 7u);
  EXPECT_EQ(job.output_directory(), "/out/" + job_id);
  ASSERT_TRUE(behind.WaitForCommand(v1::CoordinatorMessage::kStopAt, absl::ZeroDuration()));
  for (const auto& command : behind.commands()) {
    if (command.has_stop_at()) {
      EXPECT_EQ(command.stop_at().step(), 7u);
    }
  }
}

TEST_F(CoordinatorServerTest, CancelWithoutSaveAndDelete) {
  StartServer();
  AddServer("s0");
  AddWorker("w0", false);
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  ASSERT_OK(Cancel(job_id, false));
  const v1::Job job = WaitForEnd(job_id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(job.output_directory().empty());
  ASSERT_OK(Delete(job_id));
  EXPECT_THAT(Get(job_id), StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
  EXPECT_THAT(Delete(job_id), StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
  EXPECT_THAT(Cancel(job_id, false), StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
}

TEST_F(CoordinatorServerTest, SubmitIsIdempotentByRequestId) {
  StartServer();
  v1::SubmitJobRequest request;
  *request.mutable_spec() = Spec();
  request.set_validate_only(true);
  ASSERT_OK_AND_ASSIGN(v1::SubmitJobResponse checked, Submit(request));
  EXPECT_EQ(checked.job().spec().training().micro_batch(), 8u);  // A default, filled in.
  EXPECT_EQ(checked.job().parameters(), 784u * 16 + 16 + 16 * 10 + 10);
  EXPECT_THAT(Get(checked.job().job_id()), StatusIs(absl::StatusCode::kNotFound));
  request.set_validate_only(false);
  request.set_request_id("r-1");
  ASSERT_OK_AND_ASSIGN(const v1::SubmitJobResponse first, Submit(request));
  ASSERT_OK_AND_ASSIGN(const v1::SubmitJobResponse again, Submit(request));
  EXPECT_FALSE(first.already_existed());
  EXPECT_TRUE(again.already_existed());
  EXPECT_EQ(first.job().job_id(), again.job().job_id());
  request.mutable_spec()->set_seed(99);
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kInvalidArgument, "REQUEST_ID_REUSED"));
  request.set_request_id("");
  request.set_job_id(first.job().job_id());
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kAlreadyExists, "JOB_ALREADY_EXISTS"));
  request.set_job_id("Not-Valid");
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_JOB_ID"));
  request.set_job_id("");
  request.mutable_spec()->mutable_optimizer()->set_learning_rate(-1);
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SPEC"));
  request.set_request_id(std::string(129, 'r'));
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST_ID"));
}

TEST_F(CoordinatorServerTest, ListsPagesNewestFirst) {
  StartServer();
  for (int i = 0; i < 5; ++i) Submit(Spec(), absl::StrCat("job-", i));
  ASSERT_OK(Cancel("job-2", false));
  v1::ListJobsRequest request;
  request.set_page_size(2);
  request.add_states(v1::JOB_STATE_PENDING);
  std::vector<std::string> names;
  do {
    v1::ListJobsResponse response;
    ASSERT_OK(FromGrpcStatus(jobs_->ListJobs(Context().get(), request, &response)));
    for (const v1::Job& job : response.jobs()) names.push_back(job.job_id());
    EXPECT_LE(response.jobs_size(), 2);
    request.set_page_token(response.next_page_token());
    if (names.size() == 2) {
      v1::ListJobsRequest other = request;
      other.clear_states();
      EXPECT_THAT(FromGrpcStatus(jobs_->ListJobs(Context().get(), other, &response)),
                  StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN"));
    }
  } while (!request.page_token().empty());
  EXPECT_THAT(names, testing::ElementsAre("job-4", "job-3", "job-1", "job-0"));
  request.set_page_token("garbage");
  v1::ListJobsResponse response;
  EXPECT_THAT(FromGrpcStatus(jobs_->ListJobs(Context().get(), request, &response)),
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN"));
}

TEST_F(CoordinatorServerTest, StopEndsWatches) {
  StartServer();
  const std::string job_id = Submit(Spec());
  std::thread stopper;
  Watch(job_id, 0, [&](const v1::WatchJobResponse& update) {
    if (update.has_job() && !stopper.joinable()) stopper = std::thread([this] { server_->Stop(); });
    return false;
  });
  stopper.join();
  EXPECT_THAT(watch_status_, StatusIs(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING"));
}

TEST_F(CoordinatorServerTest, StartErrorsAreClear) {
  StartServer();
  CoordinatorServerOptions other = options_;
  other.data_dir += "-other";
  EXPECT_THAT(CoordinatorServer(other).Start(), StatusIs(absl::StatusCode::kUnavailable, "ADDRESS_IN_USE"));
  RemoveTree(other.data_dir).IgnoreError();
  other.data_dir = "/proc/none/data";
  EXPECT_THAT(CoordinatorServer(other).Start(), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
  other = options_;
  other.lease = absl::ZeroDuration();
  EXPECT_THAT(CoordinatorServer(other).Start(), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
  server_.reset();
  ASSERT_OK(AtomicWriteFile(options_.data_dir + "/paramd.db", std::string(8192, 'x')));
  RemoveTree(options_.data_dir + "/paramd.db-wal").IgnoreError();
  EXPECT_THAT(CoordinatorServer(options_).Start(), StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
}

TEST_F(CoordinatorServerTest, TracesTheStepsThatAllNodesHave) {
  StartServer();
  Add({.node_id = "s0", .role = v1::NODE_ROLE_SERVER, .trace_first_step = 4});
  Add({.node_id = "w0", .train = false, .trace_first_step = 5});
  Add({.node_id = "w1", .train = false, .trace_first_step = 5});
  const std::string job_id = Submit(Spec(2));
  EXPECT_THAT(Trace("no-such-job", 1), StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
  EXPECT_THAT(Trace(job_id, 0), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_STEPS"));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse trace, Trace(job_id, 3));
  EXPECT_FALSE(trace.truncated());
  std::map<std::string, std::set<uint64_t>> steps;
  for (const v1::TraceSpan& span : trace.spans()) steps[span.node_id()].insert(span.step());
  const std::set<uint64_t> expected = {5, 6, 7};
  EXPECT_EQ(steps, (std::map<std::string, std::set<uint64_t>>{{"s0", expected}, {"w0", expected}, {"w1", expected}}));
  ASSERT_OK(Cancel(job_id, false));
  WaitForEnd(job_id);
  EXPECT_THAT(Trace(job_id, 3), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING"));
}

TEST_F(CoordinatorServerTest, AsManySpansAsANodeKeepsFitIntoTheMessages) {
  StartServer();
  const int spans = UnderThreadSanitizer() ? 512 : 65536 / 2;
  Add({.node_id = "s0", .role = v1::NODE_ROLE_SERVER, .trace_spans_per_step = spans});
  Add({.node_id = "w0", .train = false});
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse trace, Trace(job_id, 1));
  EXPECT_FALSE(trace.truncated());
  EXPECT_EQ(trace.spans_size(), spans + 1) << "of the two steps recorded, one is kept";
}

TEST_F(CoordinatorServerTest, ALostNodeAndADeadlineTruncateATrace) {
  StartServer();
  AddServer("s0");
  FakeDaemon& victim = Add({.node_id = "w0", .train = false, .trace = false});
  Add({.node_id = "w1", .train = false});
  const std::string job_id = Submit(Spec(2));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  const absl::Time start = absl::Now();
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse late, Trace(job_id, 2, absl::Seconds(1)));
  EXPECT_TRUE(late.truncated());
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  EXPECT_GT(late.spans_size(), 0);
  victim.Kill();
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse lost, Trace(job_id, 2));
  EXPECT_TRUE(lost.truncated());
  EXPECT_LT(absl::Now() - start, kPatience) << "not at the deadline";
  EXPECT_THAT(WaitForEvent(job_id, "WORKER_LOST"), HasSubstr("w0"));
}

}  // namespace
}  // namespace paramd
