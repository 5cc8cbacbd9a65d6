// The whole coordinator over a real port and its daemons, which are fake: they register, wait, get lost and come back.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/testing/coordinator_server_fixture.h"

namespace paramd {
namespace {

using testing::HasSubstr;

class CoordinatorServerMembersTest : public CoordinatorServerFixture {};

TEST_F(CoordinatorServerMembersTest, SessionMustStartWithRegister) {
  StartServer();
  auto context = Context();
  auto stream = cluster_->Session(context.get());
  v1::DaemonMessage message;
  message.mutable_heartbeat();
  stream->Write(message);
  v1::CoordinatorMessage answer;
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_THAT(FromGrpcStatus(stream->Finish()), StatusIs(absl::StatusCode::kInvalidArgument, "SESSION_PROTOCOL"));
  auto silent_context = Context();
  auto silent = cluster_->Session(silent_context.get());  // Says nothing at all.
  EXPECT_FALSE(silent->Read(&answer));
  EXPECT_THAT(FromGrpcStatus(silent->Finish()), StatusIs(absl::StatusCode::kDeadlineExceeded, "REGISTER_TIMEOUT"));
}

TEST_F(CoordinatorServerMembersTest, ListsNodes) {
  StartServer();
  AddWorker("w0", false);
  AddServer("s0");
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  v1::ListNodesResponse nodes;
  ASSERT_OK(FromGrpcStatus(cluster_->ListNodes(Context().get(), {}, &nodes)));
  ASSERT_EQ(nodes.nodes_size(), 2);
  EXPECT_EQ(nodes.nodes(0).node_id(), "s0");
  EXPECT_GT(nodes.nodes(0).memory_reserved_bytes(), 0u);
  EXPECT_EQ(nodes.nodes(1).state(), v1::NODE_STATE_READY);
  EXPECT_THAT(nodes.nodes(1).jobs(), testing::ElementsAre(job_id));
}

TEST_F(CoordinatorServerMembersTest, SaysWhatAPendingJobWaitsForAndRunsItWhenThatCame) {
  StartServer();
  AddServer("s0");
  AddWorker("w0");
  const std::string job_id = Submit(Spec(3));
  const v1::Job job = WaitFor(job_id, [](const v1::Job& j) { return j.reason() == "INSUFFICIENT_WORKERS"; });
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.message(), "waits for 2 more workers: 3 needed, 1 registered, 1 free");
  const std::string small = Submit(Spec(1));  // Passes the one that cannot run.
  EXPECT_EQ(WaitForEnd(small).state(), v1::JOB_STATE_SUCCEEDED);
  AddWorker("w1");
  AddWorker("w2");
  EXPECT_EQ(WaitForEnd(job_id).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(CoordinatorServerMembersTest, LostWorkerFailsTheJobWithinTheLease) {
  StartServer();
  AddServer("s0");
  AddWorker("w0", false);
  FakeDaemon& victim = AddWorker("w1", false);
  const std::string job_id = Submit(Spec(2));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  const absl::Time killed = absl::Now();
  victim.Kill();
  EXPECT_THAT(WaitForEvent(job_id, "WORKER_LOST"), HasSubstr("w1"));
  EXPECT_LT(absl::Now() - killed, options_.lease + absl::Seconds(2));
  EXPECT_THAT(WaitForEvent(job_id, "GENERATION_CHANGED"), HasSubstr("generation 2 from step 1: w0 slots 0..3"));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, Get(job_id));
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(job.generation(), 2u);
  EXPECT_EQ(job.placement().workers_size(), 1);
}

TEST_F(CoordinatorServerMembersTest, ServerThatLeavesFailsTheJobAtOnce) {
  options_.lease = absl::Hours(1);
  options_.max_recoveries = 0;
  StartServer();
  FakeDaemon& server = AddServer("s0");
  AddWorker("w0", false);
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  server.Leave();
  const v1::Job job = WaitForEnd(job_id);
  EXPECT_EQ(job.reason(), "SERVER_LOST");
  EXPECT_THAT(job.message(), HasSubstr("stopped"));
}

TEST_F(CoordinatorServerMembersTest, RestartedWorkerEndsItsEarlierIncarnation) {
  options_.lease = absl::Hours(1);
  StartServer();
  AddServer("s0");
  FakeDaemon& old = AddWorker("w0", false);
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  Add({.node_id = "w0", .incarnation = 2});
  EXPECT_THAT(WaitForEvent(job_id, "WORKER_LOST"), HasSubstr("restarted"));
  EXPECT_THAT(WaitForEvent(job_id, "WAITING_FOR_WORKERS"), HasSubstr("all workers are gone"));
  EXPECT_THAT(WaitForEvent(job_id, "WORKER_JOINED"), HasSubstr("w0 joins with slots 0..3"));
  ASSERT_TRUE(old.WaitForEnd(kPatience));
  EXPECT_THAT(old.end_status(), StatusIs(absl::StatusCode::kAborted, "SESSION_REPLACED"));
  old.Disconnect();
  old.Start();
  EXPECT_TRUE(old.WaitForCommand(v1::CoordinatorMessage::kRefused, kPatience));
}

TEST_F(CoordinatorServerMembersTest, ReconnectionWithinTheLeaseLosesNothing) {
  StartServer();
  AddServer("s0");
  FakeDaemon& worker = AddWorker("w0", false);
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  worker.Disconnect();
  worker.Start();
  worker.Train(20, 1.0);
  EXPECT_EQ(WaitForEnd(job_id).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(CoordinatorServerMembersTest, ReleasesJobsThatADaemonHoldsButTheCoordinatorHasGivenUp) {
  options_.workers_timeout = absl::Seconds(1);
  StartServer();
  AddServer("s0");
  FakeDaemon& worker = AddWorker("w0", false);
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  worker.Disconnect();
  EXPECT_EQ(WaitForEnd(job_id).reason(), "WORKERS_TIMEOUT");
  worker.Start();
  EXPECT_TRUE(worker.WaitForCommand(v1::CoordinatorMessage::kRelease, kPatience));
}

TEST_F(CoordinatorServerMembersTest, RunningJobSurvivesARestartWhenItsDaemonsComeBack) {
  StartServer();
  FakeDaemon& server = AddServer("s0");
  FakeDaemon& worker = AddWorker("w0", false);
  const std::string done = Submit(Spec(1), "later");
  WaitForPhase(done, v1::JOB_PHASE_TRAINING);
  Submit(Spec(1), "queued");
  server_.reset();
  EXPECT_TRUE(worker.WaitForEnd(kPatience));
  server.Disconnect();
  worker.Disconnect();
  StartServer();
  ASSERT_OK_AND_ASSIGN(const v1::Job restored, Get(done));
  EXPECT_EQ(restored.phase(), v1::JOB_PHASE_TRAINING);
  server.Start();
  worker.Start();
  worker.Train(20, 0.25);
  const v1::Job job = WaitForEnd(done);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  std::vector<uint64_t> sequences;
  for (const auto& update : Watch(done, 0)) {
    if (update.has_event()) sequences.push_back(update.event().sequence());
  }
  EXPECT_EQ(sequences.size(), job.last_event_sequence());  // History from both lives.
  WaitForPhase("queued", v1::JOB_PHASE_TRAINING);          // Was still in the queue.
}

TEST_F(CoordinatorServerMembersTest, RunningJobFailsWhenADaemonDoesNotComeBackAfterARestart) {
  options_.workers_timeout = absl::Seconds(1);
  StartServer();
  FakeDaemon& server = AddServer("s0");
  FakeDaemon& worker = AddWorker("w0", false);
  const std::string job_id = Submit(Spec(1));
  WaitForPhase(job_id, v1::JOB_PHASE_TRAINING);
  server_.reset();
  worker.Kill();
  server.Disconnect();
  StartServer();
  server.Start();
  EXPECT_THAT(WaitForEvent(job_id, "WORKER_LOST"), testing::AllOf(HasSubstr("w0"), HasSubstr("did not come back")));
  const v1::Job job = WaitForEnd(job_id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.reason(), "WORKERS_TIMEOUT");
}

}  // namespace
}  // namespace paramd
