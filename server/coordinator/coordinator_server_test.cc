// The whole coordinator over a real port, with fake daemons.
#include "server/coordinator/coordinator_server.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/base/thread_sanitizer.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/job.grpc.pb.h"
#include "server/coordinator/testing/fake_daemon.h"

namespace paramd {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(20);

v1::JobSpec Spec(uint32_t workers = 2, uint32_t servers = 1) {
  v1::JobSpec spec;
  spec.set_name("tiny");
  for (uint32_t width : {784, 16, 10}) spec.mutable_model()->mutable_mlp()->add_widths(width);
  spec.mutable_data()->mutable_idx()->set_train_images("/data/images");
  spec.mutable_data()->mutable_idx()->set_train_labels("/data/labels");
  spec.mutable_training()->set_steps(20);
  spec.mutable_training()->set_slots(4);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_resources()->set_workers(workers);
  spec.mutable_resources()->set_servers(servers);
  return spec;
}

class CoordinatorServerTest : public testing::Test {
 protected:
  CoordinatorServerTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    options_.data_dir = absl::StrCat(testing::TempDir(), "/", info->name(), "-", absl::ToUnixNanos(absl::Now()));
    options_.listen = "127.0.0.1:0";
    options_.metrics_listen = "127.0.0.1:0";
    options_.lease = absl::Seconds(2);
    options_.restart_grace = absl::Seconds(2);
  }
  ~CoordinatorServerTest() override {
    for (auto& daemon : daemons_) daemon->Kill();
    server_.reset();
    RemoveTree(options_.data_dir).IgnoreError();
  }

  void StartServer() {
    server_ = std::make_unique<CoordinatorServer>(options_);
    ASSERT_OK(server_->Start());
    options_.listen = absl::StrCat("127.0.0.1:", server_->port());  // The same port after a restart.
    jobs_ = v1::JobService::NewStub(CreateChannel(options_.listen, {}));
    cluster_ = v1::ClusterService::NewStub(CreateChannel(options_.listen, {}));
  }
  FakeDaemon& Add(FakeDaemonOptions options) {
    options.address = options_.listen;
    daemons_.push_back(std::make_unique<FakeDaemon>(options));
    daemons_.back()->Start();
    EXPECT_TRUE(daemons_.back()->WaitForCommand(v1::CoordinatorMessage::kWelcome, kPatience));
    return *daemons_.back();
  }
  FakeDaemon& AddServer(const std::string& id) { return Add({.node_id = id, .role = v1::NODE_ROLE_SERVER}); }
  FakeDaemon& AddWorker(const std::string& id, bool train = true, uint64_t stop_point = 0) {
    return Add({.node_id = id, .train = train, .stop_point = stop_point});
  }

  static std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_wait_for_ready(true);
    context->set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    return context;
  }
  absl::StatusOr<v1::SubmitJobResponse> Submit(const v1::SubmitJobRequest& request) {
    v1::SubmitJobResponse response;
    const grpc::Status status = jobs_->SubmitJob(Context().get(), request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }
  std::string Submit(const v1::JobSpec& spec, const std::string& job_id = "") {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_job_id(job_id);
    const auto response = Submit(request);
    EXPECT_OK(response);
    return response.ok() ? response->job().job_id() : "";
  }
  absl::StatusOr<v1::Job> Get(const std::string& job_id) {
    v1::GetJobRequest request;
    request.set_job_id(job_id);
    v1::GetJobResponse response;
    const grpc::Status status = jobs_->GetJob(Context().get(), request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response.job();
  }
  absl::Status Cancel(const std::string& job_id, bool save) {
    v1::CancelJobRequest request;
    request.set_job_id(job_id);
    request.set_save(save);
    v1::CancelJobResponse response;
    return FromGrpcStatus(jobs_->CancelJob(Context().get(), request, &response));
  }
  absl::Status Delete(const std::string& job_id) {
    v1::DeleteJobRequest request;
    request.set_job_id(job_id);
    v1::DeleteJobResponse response;
    return FromGrpcStatus(jobs_->DeleteJob(Context().get(), request, &response));
  }
  absl::StatusOr<v1::TraceJobResponse> Trace(const std::string& job_id, uint32_t steps,
                                             absl::Duration timeout = kPatience) {
    v1::TraceJobRequest request;
    request.set_job_id(job_id);
    request.set_steps(steps);
    v1::TraceJobResponse response;
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    const auto stub = v1::JobService::NewStub(CreateChannel(options_.listen, {.max_message_bytes = 16 << 20}));
    const grpc::Status status = stub->TraceJob(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }
  // Follows the job until `enough` says so of an update or the watch ends; returns all updates.
  std::vector<v1::WatchJobResponse> Watch(const std::string& job_id, uint64_t after,
                                          const std::function<bool(const v1::WatchJobResponse&)>& enough = nullptr) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_after_sequence(after);
    auto context = Context();
    auto reader = jobs_->WatchJob(context.get(), request);
    std::vector<v1::WatchJobResponse> updates;
    v1::WatchJobResponse update;
    while (reader->Read(&update)) {
      updates.push_back(update);
      if (enough && enough(update)) context->TryCancel();
    }
    watch_status_ = FromGrpcStatus(reader->Finish());
    return updates;
  }
  v1::Job WaitFor(const std::string& job_id, const std::function<bool(const v1::Job&)>& condition) {
    v1::Job last;
    Watch(job_id, UINT64_MAX, [&](const v1::WatchJobResponse& update) {
      if (update.has_job()) last = update.job();
      return update.has_job() && condition(last);
    });
    EXPECT_TRUE(condition(last)) << last.ShortDebugString();
    return last;
  }
  v1::Job WaitForEnd(const std::string& job_id) {
    return WaitFor(job_id, [](const v1::Job& job) { return job.state() > v1::JOB_STATE_PAUSED; });
  }
  // The message of the job's first event of that reason.
  std::string WaitForEvent(const std::string& job_id, const std::string& reason) {
    std::string message = "no such event";
    Watch(job_id, 0, [&](const v1::WatchJobResponse& update) {
      if (!update.has_event() || update.event().reason() != reason) return false;
      message = update.event().message();
      return true;
    });
    return message;
  }
  v1::Job WaitForPhase(const std::string& job_id, v1::JobPhase phase) {
    return WaitFor(job_id, [phase](const v1::Job& job) { return job.phase() == phase; });
  }

  CoordinatorServerOptions options_;
  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::ClusterService::Stub> cluster_;
  std::vector<std::unique_ptr<FakeDaemon>> daemons_;
  absl::Status watch_status_;
};

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

TEST_F(CoordinatorServerTest, LostWorkerFailsTheJobWithinTheLease) {
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

TEST_F(CoordinatorServerTest, ServerThatLeavesFailsTheJobAtOnce) {
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

TEST_F(CoordinatorServerTest, RestartedWorkerEndsItsEarlierIncarnation) {
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

TEST_F(CoordinatorServerTest, SaysWhatAPendingJobWaitsForAndRunsItWhenThatCame) {
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

TEST_F(CoordinatorServerTest, RunningJobSurvivesARestartWhenItsDaemonsComeBack) {
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

TEST_F(CoordinatorServerTest, RunningJobFailsWhenADaemonDoesNotComeBackAfterARestart) {
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

TEST_F(CoordinatorServerTest, ReconnectionWithinTheLeaseLosesNothing) {
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

TEST_F(CoordinatorServerTest, ReleasesJobsThatADaemonHoldsButTheCoordinatorHasGivenUp) {
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

TEST_F(CoordinatorServerTest, ListsNodes) {
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

TEST_F(CoordinatorServerTest, SessionMustStartWithRegister) {
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
