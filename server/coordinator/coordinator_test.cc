// The engine with a fake clock and a store that can fail; over real ports see coordinator_server_test.cc.
#include "server/coordinator/coordinator.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "server/coordinator/store/sqlite_store.h"

namespace paramd {
namespace {

using testing::HasSubstr;
using testing::Not;

// Passes everything on, unless told to fail writes.
class FailingStore final : public Store {
 public:
  explicit FailingStore(std::unique_ptr<Store> store) : store_(std::move(store)) {}
  bool fail = false;

  absl::Status Apply(const StoreBatch& batch) override {
    return fail ? MakeError(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE", "disk full") : store_->Apply(batch);
  }
  absl::StatusOr<coordinator::JobRecord> GetJob(const std::string& id) override { return store_->GetJob(id); }
  absl::StatusOr<coordinator::JobRecord> GetJobByRequestId(const std::string& id) override {
    return store_->GetJobByRequestId(id);
  }
  absl::StatusOr<bool> JobIdTaken(const std::string& id) override { return store_->JobIdTaken(id); }
  absl::StatusOr<std::vector<coordinator::JobRecord>> ListJobs(const JobQuery& q) override {
    return store_->ListJobs(q);
  }
  absl::StatusOr<std::map<v1::JobState, int64_t>> CountJobs() override { return store_->CountJobs(); }
  absl::StatusOr<uint64_t> LastOrdinal() override { return store_->LastOrdinal(); }
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& id, uint64_t after, int limit) override {
    return store_->Events(id, after, limit);
  }

 private:
  std::unique_ptr<Store> store_;
};

class FakeLink final : public SessionLink {
 public:
  void Send(const v1::CoordinatorMessage& message) override { sent.push_back(message); }
  void Close(const absl::Status& s) override { closed = true, status = s; }
  bool Got(v1::CoordinatorMessage::MessageCase kind) const {
    return std::any_of(sent.begin(), sent.end(), [kind](const auto& m) { return m.message_case() == kind; });
  }
  std::vector<v1::CoordinatorMessage> sent;
  bool closed = false;
  absl::Status status;
};

class FakeSink final : public WatchSink {
 public:
  void Send(const v1::WatchJobResponse& response) override { sent.push_back(response); }
  void Finish(const absl::Status& s) override { finished = true, status = s; }
  std::vector<v1::WatchJobResponse> sent;
  bool finished = false;
  absl::Status status;
};

class FakeTraceSink final : public TraceSink {
 public:
  void Finish(absl::StatusOr<v1::TraceJobResponse> r) override {
    EXPECT_FALSE(finished);
    finished = true;
    response = std::move(r);
  }
  bool finished = false;
  absl::StatusOr<v1::TraceJobResponse> response = v1::TraceJobResponse();
};

class CoordinatorTest : public testing::Test {
 protected:
  CoordinatorTest() {
    auto store = OpenSqliteStore(":memory:");
    EXPECT_OK(store);
    store_ = std::make_unique<FailingStore>(*std::move(store));
    metrics_ = std::make_unique<CoordinatorMetrics>(registry_, "sqlite");
    coordinator_ = std::make_unique<Coordinator>(CoordinatorOptions(), *store_, clock_, *metrics_);
    EXPECT_OK(coordinator_->Load());
  }
  void Advance(absl::Duration duration) {
    for (; duration > absl::ZeroDuration(); duration -= absl::Milliseconds(500)) {
      clock_.Advance(absl::Milliseconds(500));
      coordinator_->Tick();
    }
  }
  absl::StatusOr<v1::SubmitJobResponse> Submit(const std::string& job_id = "job-1") {
    v1::SubmitJobRequest request;
    v1::JobSpec& spec = *request.mutable_spec();
    for (uint32_t width : {784, 16, 10}) spec.mutable_model()->mutable_mlp()->add_widths(width);
    spec.mutable_data()->mutable_idx()->set_train_images("/data/images");
    spec.mutable_data()->mutable_idx()->set_train_labels("/data/labels");
    spec.mutable_training()->set_steps(20);
    spec.mutable_optimizer()->set_learning_rate(0.1);
    request.set_job_id(job_id);
    return coordinator_->Submit(request);
  }
  void Register(FakeLink& link, const std::string& id, v1::NodeRole role, bool held = false) {
    coordinator_->OpenSession(&link);
    v1::DaemonMessage message;
    v1::Register& r = *message.mutable_register_();
    r.set_node_id(id);
    r.set_role(role);
    r.set_incarnation(1);
    r.set_address("127.0.0.1:1");
    r.set_memory_limit_bytes(1 << 30);
    r.set_job_capacity(1);
    r.set_protocol(kClusterProtocol);
    if (held) {
      r.add_held_jobs()->set_job_id("job-1");
      r.mutable_held_jobs(0)->set_generation(1);
    }
    coordinator_->OnDaemonMessage(&link, message);
  }
  void KeepAlive(FakeLink& link) {
    v1::DaemonMessage message;
    message.mutable_heartbeat()->set_sequence(1);
    coordinator_->OnDaemonMessage(&link, message);
  }
  void Report(FakeLink& link, const std::function<void(v1::JobReport&)>& fill) {
    v1::DaemonMessage message;
    v1::JobReport& report = *message.mutable_report();
    report.set_job_id("job-1");
    report.set_generation(1);
    fill(report);
    coordinator_->OnDaemonMessage(&link, message);
  }
  void Train() {
    Register(server_, "s0", v1::NODE_ROLE_SERVER);
    Register(worker_, "w0", v1::NODE_ROLE_WORKER);
    EXPECT_OK(Submit());
    coordinator_->Tick();
    for (FakeLink* link : {&server_, &worker_}) Report(*link, [](v1::JobReport& r) { r.mutable_prepared(); });
    EXPECT_EQ(Job().phase(), v1::JOB_PHASE_TRAINING);
  }
  void StartTrace(FakeTraceSink& sink, uint32_t steps = 2, absl::Duration timeout = absl::Seconds(30)) {
    v1::TraceJobRequest request;
    request.set_job_id("job-1");
    request.set_steps(steps);
    coordinator_->StartTrace(request, timeout, &sink);
  }
  // The newest CollectTrace that `link` got.
  static v1::CollectTrace LastCollect(const FakeLink& link) {
    v1::CollectTrace command;
    for (const auto& message : link.sent) {
      if (message.has_collect_trace()) command = message.collect_trace();
    }
    return command;
  }
  // Answers the newest CollectTrace with one span per step, from step 5 on.
  void AnswerTrace(FakeLink& link) {
    const v1::CollectTrace command = LastCollect(link);
    Report(link, [&](v1::JobReport& report) {
      report.mutable_trace()->set_trace(command.trace());
      for (uint32_t i = 0; i < command.steps(); ++i) report.mutable_trace()->add_spans()->set_step(5 + i);
    });
  }
  v1::Job Job() {
    const auto job = coordinator_->Get("job-1");
    EXPECT_OK(job);
    return job.ok() ? *job : v1::Job();
  }
  std::string Metrics() const { return prometheus::TextSerializer().Serialize(registry_->Collect()); }

  FakeClock clock_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  std::unique_ptr<FailingStore> store_;
  std::unique_ptr<CoordinatorMetrics> metrics_;
  std::unique_ptr<Coordinator> coordinator_;
  FakeLink server_;
  FakeLink worker_;
};

TEST_F(CoordinatorTest, NothingHappensThatTheStoreRefused) {
  store_->fail = true;
  EXPECT_THAT(Submit(), StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(coordinator_->Get("job-1"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(coordinator_->Ready(), StatusIs(absl::StatusCode::kUnavailable));
  store_->fail = false;
  Train();
  EXPECT_OK(coordinator_->Ready());
  store_->fail = true;
  Report(worker_, [](v1::JobReport& r) {
    r.set_number(5);
    r.mutable_finished()->set_step(20);
  });
  EXPECT_TRUE(worker_.closed);  // Comes back with the same report.
  EXPECT_FALSE(worker_.Got(v1::CoordinatorMessage::kReportAck));
  EXPECT_FALSE(server_.Got(v1::CoordinatorMessage::kSave));
  EXPECT_EQ(Job().phase(), v1::JOB_PHASE_TRAINING);
}

TEST_F(CoordinatorTest, ALostLeaseIsActedUponOnceTheStoreWorksAgain) {
  Train();
  store_->fail = true;
  Advance(absl::Seconds(11));
  EXPECT_EQ(Job().phase(), v1::JOB_PHASE_TRAINING);
  store_->fail = false;
  Advance(absl::Seconds(1));
  EXPECT_EQ(Job().state(), v1::JOB_STATE_PENDING);  // Both nodes are lost: nobody to release.
  EXPECT_EQ(Job().reason(), "INSUFFICIENT_SERVERS");
  EXPECT_THAT(worker_.status, StatusIs(absl::StatusCode::kUnavailable, "LEASE_LOST"));
}

TEST_F(CoordinatorTest, AJobThatRecoversGoesOnWithTheWorkersThereAre) {
  Train();
  ASSERT_OK(coordinator_->Scale("job-1", 2));
  v1::DaemonMessage goodbye;
  goodbye.mutable_goodbye()->set_reason("stopped");
  coordinator_->OnDaemonMessage(&server_, goodbye);
  Report(worker_, [](v1::JobReport& r) { r.mutable_released(); });
  Advance(absl::Seconds(1));
  EXPECT_EQ(Job().state(), v1::JOB_STATE_PENDING);
  FakeLink spare;
  Register(spare, "s1", v1::NODE_ROLE_SERVER);
  Advance(absl::Seconds(1));
  EXPECT_EQ(Job().state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Job().placement().workers_size(), 1);
}

TEST_F(CoordinatorTest, AClockThatJumpsCostsNoLeases) {
  Train();
  clock_.Advance(absl::Hours(1));
  coordinator_->Tick();
  EXPECT_EQ(Job().phase(), v1::JOB_PHASE_TRAINING);
  clock_.Advance(-absl::Hours(2));
  coordinator_->Tick();
  Advance(absl::Seconds(11));
  EXPECT_EQ(Job().state(), v1::JOB_STATE_PENDING);  // And none lasts two hours longer.
}

TEST_F(CoordinatorTest, SeriesFollowTheJobAndTheNode) {
  Train();
  Report(worker_, [](v1::JobReport& r) { r.mutable_progress()->set_step(7); });
  Advance(absl::Seconds(2));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_global_step{train_job=\"job-1\"} 7"));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_jobs{state=\"running\"} 1"));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_heartbeat_age_seconds{node=\"w0\"}"));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_workers{state=\"ready\"} 1"));
  Advance(absl::Seconds(12));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_job_recoveries_total 1"));
  EXPECT_THAT(Metrics(), Not(HasSubstr("node=\"w0\"")));
  EXPECT_OK(coordinator_->Cancel("job-1", false));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_jobs_completed_total{result=\"cancelled\"} 1"));
  EXPECT_THAT(Metrics(), HasSubstr("train_job=\"job-1\""));
  Advance(absl::Minutes(6));
  EXPECT_THAT(Metrics(), Not(HasSubstr("train_job=\"job-1\"")));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_jobs{state=\"cancelled\"} 1"));
  EXPECT_OK(coordinator_->Delete("job-1"));
  EXPECT_THAT(Metrics(), HasSubstr("paramd_jobs{state=\"cancelled\"} 0"));
}

TEST_F(CoordinatorTest, ASlowWatcherGetsOneSnapshotOfManyChanges) {
  Train();
  FakeSink sink;
  v1::WatchJobRequest request;
  request.set_job_id("job-1");
  request.set_after_sequence(1000);
  coordinator_->StartWatch(request, &sink);
  ASSERT_EQ(sink.sent.size(), 1u);
  for (uint64_t step = 1; step <= 10; ++step) {
    Report(worker_, [step](v1::JobReport& r) { r.mutable_progress()->set_step(step); });
    coordinator_->Tick();
  }
  EXPECT_EQ(sink.sent.size(), 1u);  // The first is still being written.
  coordinator_->WatchReady(&sink);
  ASSERT_EQ(sink.sent.size(), 2u);
  EXPECT_EQ(sink.sent[1].job().progress().step(), 10u);
  coordinator_->WatchReady(&sink);
  EXPECT_EQ(sink.sent.size(), 2u);
  coordinator_->CancelWatch(&sink);
  EXPECT_THAT(sink.status, StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(CoordinatorTest, AWatchEndsWhenItsJobIsDeleted) {
  EXPECT_OK(Submit());
  FakeSink sink;
  v1::WatchJobRequest request;
  request.set_job_id("job-1");
  coordinator_->StartWatch(request, &sink);
  EXPECT_OK(coordinator_->Cancel("job-1", false));
  EXPECT_OK(coordinator_->Delete("job-1"));
  EXPECT_FALSE(sink.finished);  // A write is under way.
  coordinator_->WatchReady(&sink);
  EXPECT_THAT(sink.status, StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
}

TEST_F(CoordinatorTest, APageTokenDoesNotDependOnTheOrderOfTheFilter) {
  EXPECT_OK(Submit("job-1"));
  EXPECT_OK(Submit("job-2"));
  v1::ListJobsRequest request;
  request.set_page_size(1);
  request.add_states(v1::JOB_STATE_RUNNING);
  request.add_states(v1::JOB_STATE_PENDING);
  ASSERT_OK_AND_ASSIGN(const v1::ListJobsResponse first, coordinator_->List(request));
  ASSERT_EQ(first.jobs_size(), 1);
  EXPECT_EQ(first.jobs(0).job_id(), "job-2");
  request.set_page_token(first.next_page_token());
  request.clear_states();
  for (const v1::JobState state : {v1::JOB_STATE_PENDING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_PENDING}) {
    request.add_states(state);
  }
  ASSERT_OK_AND_ASSIGN(const v1::ListJobsResponse second, coordinator_->List(request));
  ASSERT_EQ(second.jobs_size(), 1);
  EXPECT_EQ(second.jobs(0).job_id(), "job-1");
  EXPECT_EQ(second.next_page_token(), "");
  request.add_states(v1::JOB_STATE_FAILED);
  EXPECT_THAT(coordinator_->List(request), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN"));
}

TEST_F(CoordinatorTest, ATraceIsAnsweredWhenAllNodesHave) {
  Train();
  FakeTraceSink sink;
  StartTrace(sink);
  const v1::CollectTrace command = LastCollect(worker_);
  EXPECT_EQ(command.job_id(), "job-1");
  EXPECT_EQ(command.generation(), 1u);
  EXPECT_EQ(command.steps(), 3u) << "one more, to align";
  EXPECT_EQ(LastCollect(server_).trace(), command.trace());
  FakeTraceSink second;
  StartTrace(second);
  EXPECT_THAT(second.response, StatusIs(absl::StatusCode::kFailedPrecondition, "TRACE_RUNNING"));
  AnswerTrace(worker_);
  AnswerTrace(worker_);
  EXPECT_FALSE(sink.finished);
  AnswerTrace(server_);
  ASSERT_TRUE(sink.finished);
  ASSERT_OK(sink.response);
  EXPECT_FALSE(sink.response->truncated());
  ASSERT_EQ(sink.response->spans_size(), 4);
  EXPECT_EQ(sink.response->spans(0).node_id(), "w0");
  EXPECT_EQ(sink.response->spans(3).node_id(), "s0");
  AnswerTrace(server_);  // Late: nobody waits.
  FakeTraceSink third;
  StartTrace(third);
  EXPECT_GT(LastCollect(worker_).trace(), command.trace());
  coordinator_->CancelTrace(&third);
  EXPECT_THAT(third.response, StatusIs(absl::StatusCode::kCancelled));
  coordinator_->CancelTrace(&third);  // Gone already.
}

TEST_F(CoordinatorTest, OnlyAJobInTrainingIsTraced) {
  for (const uint32_t steps : {0u, 101u}) {
    FakeTraceSink sink;
    StartTrace(sink, steps);
    EXPECT_THAT(sink.response, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_STEPS"));
  }
  FakeTraceSink unknown;
  StartTrace(unknown);
  EXPECT_THAT(unknown.response, StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
  EXPECT_OK(Submit());
  FakeTraceSink pending;
  StartTrace(pending);
  EXPECT_THAT(pending.response, StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING"));
  EXPECT_THAT(std::string(pending.response.status().message()), HasSubstr("it is PENDING (QUEUED: "));
  EXPECT_OK(coordinator_->Cancel("job-1", false));
  coordinator_->Tick();
  FakeTraceSink over;
  StartTrace(over);
  EXPECT_THAT(over.response, StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING"));
}

TEST_F(CoordinatorTest, ATraceIsAnsweredInTimeWithWhatThereIs) {
  Train();
  FakeTraceSink partial;
  StartTrace(partial);
  AnswerTrace(worker_);
  for (int i = 0; i < 4; ++i) {
    Advance(absl::Seconds(7));
    for (FakeLink* link : {&server_, &worker_}) KeepAlive(*link);
  }
  EXPECT_FALSE(partial.finished);
  Advance(absl::Milliseconds(1500));
  ASSERT_TRUE(partial.finished);
  ASSERT_OK(partial.response);
  EXPECT_TRUE(partial.response->truncated());
  EXPECT_EQ(partial.response->spans_size(), 2);

  FakeTraceSink nothing;
  StartTrace(nothing, 2, absl::Seconds(5));
  Advance(absl::Seconds(5));
  EXPECT_THAT(nothing.response, StatusIs(absl::StatusCode::kDeadlineExceeded, "TRACE_TIMEOUT"));
  EXPECT_THAT(std::string(nothing.response.status().message()), HasSubstr("worker w0, server s0"));
}

TEST_F(CoordinatorTest, TheEndOfTheJobEndsItsTrace) {
  Train();
  FakeTraceSink sink;
  StartTrace(sink);
  AnswerTrace(worker_);
  EXPECT_OK(coordinator_->Cancel("job-1", false));
  coordinator_->Tick();
  EXPECT_FALSE(sink.finished) << "the others' answers may be on their way";
  Advance(absl::Milliseconds(1500));
  ASSERT_TRUE(sink.finished);
  ASSERT_OK(sink.response);
  EXPECT_TRUE(sink.response->truncated());
}

TEST_F(CoordinatorTest, AJobThatEndsBeforeItsFirstTracedStepSaysSo) {
  Train();
  FakeTraceSink sink;
  StartTrace(sink);
  EXPECT_OK(coordinator_->Cancel("job-1", false));
  for (FakeLink* link : {&server_, &worker_}) {
    Report(*link, [](v1::JobReport& report) { report.mutable_released(); });
  }
  coordinator_->Tick();
  EXPECT_THAT(sink.response, StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_ENDED"));
  EXPECT_TRUE(sink.finished);
}

TEST_F(CoordinatorTest, ANodeThatComesBackIsAskedAgain) {
  Train();
  coordinator_->CloseSession(&worker_);
  FakeTraceSink sink;
  StartTrace(sink);
  EXPECT_FALSE(worker_.Got(v1::CoordinatorMessage::kCollectTrace));
  AnswerTrace(server_);
  FakeLink again;
  Register(again, "w0", v1::NODE_ROLE_WORKER, /*held=*/true);
  EXPECT_TRUE(again.Got(v1::CoordinatorMessage::kCollectTrace));
  AnswerTrace(again);
  ASSERT_TRUE(sink.finished);
  ASSERT_OK(sink.response);
  EXPECT_FALSE(sink.response->truncated());
  FakeLink once_more;
  Register(once_more, "w0", v1::NODE_ROLE_WORKER, /*held=*/true);
  EXPECT_FALSE(once_more.Got(v1::CoordinatorMessage::kCollectTrace));
}

TEST_F(CoordinatorTest, ShutdownEndsTraces) {
  Train();
  FakeTraceSink sink;
  StartTrace(sink);
  coordinator_->Shutdown(MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "stopping"));
  EXPECT_THAT(sink.response, StatusIs(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING"));
  FakeTraceSink late;
  StartTrace(late);
  EXPECT_THAT(late.response, StatusIs(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING"));
}

TEST_F(CoordinatorTest, ASessionThatNeverRegistersIsClosed) {
  FakeLink link;
  coordinator_->OpenSession(&link);
  Advance(absl::Seconds(11));
  EXPECT_THAT(link.status, StatusIs(absl::StatusCode::kDeadlineExceeded, "REGISTER_TIMEOUT"));
}

}  // namespace
}  // namespace paramd
