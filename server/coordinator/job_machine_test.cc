#include "server/coordinator/job_machine.h"

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/testing/job_machine_fixture.h"

namespace paramd {
namespace {

using testing::HasSubstr;

class JobMachineTest : public JobMachineFixture {
 protected:
  JobMachineTest() : JobMachineFixture({.workers = 2, .slots = 4}) { Submit(); }
  void Saved() {
    Report(Server(0), [](v1::JobReport& r) {
      r.mutable_saved()->set_directory("/out/job-1");
      r.mutable_saved()->set_sha256("abc");
    });
  }
};

TEST_F(JobMachineTest, GoesThroughItsWholeLife) {
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_QUEUED);
  Place();
  EXPECT_THAT(Commands(), testing::ElementsAre("s0:prepare_server", "s1:prepare_server"));
  Prepared(Server(1));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_PREPARING_SERVERS);
  Prepared(Server(0));
  EXPECT_THAT(Commands(), testing::ElementsAre("w0:prepare_worker", "w1:prepare_worker"));
  Prepared(Worker(0));
  Prepared(Worker(1));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  EXPECT_THAT(Commands(), testing::ElementsAre("w0:start", "w1:start"));
  After(absl::Hours(100));  // Training has no deadline.
  Finished(0, 100);
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  Finished(1, 100);
  EXPECT_THAT(Commands(), testing::ElementsAre("s0:save"));
  Saved();
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_RELEASING);
  EXPECT_EQ(Commands().size(), 4u);
  EXPECT_EQ(job().state(), v1::JOB_STATE_RUNNING);
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_DONE);
  EXPECT_EQ(job().final_weights_sha256(), "abc");
  EXPECT_EQ(job().progress().step(), 100u);
  for (size_t i = 0; i < events_.size(); ++i) EXPECT_EQ(events_[i].sequence(), i + 1);
  EXPECT_EQ(events_.back().reason(), "SUCCEEDED");
  EXPECT_EQ(events_.back().state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobMachineTest, IgnoresRepeatedForeignAndFencedReports) {
  Place();
  Prepared(Server(0));
  Prepared(Server(0));
  EXPECT_FALSE(last_.changed);
  ReportOf(2, Server(1), [](v1::JobReport& r) { r.mutable_prepared(); });
  EXPECT_FALSE(last_.changed);
  Prepared({v1::NODE_ROLE_SERVER, "s1", 8});  // Another incarnation.
  EXPECT_FALSE(last_.changed);
  Prepared({v1::NODE_ROLE_SERVER, "stranger", 7});
  EXPECT_FALSE(last_.changed);
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_PREPARING_SERVERS);
}

TEST_F(JobMachineTest, EveryWaitHasADeadlineThatNamesWhoIsMissing) {
  struct Row {
    const char* reason;
    const char* who;
    absl::Duration timeout;
    std::function<void()> reach;
  };
  const coordinator::JobRecord fresh = record_;
  const Row rows[] = {
      {"PREPARE_TIMEOUT", "server s1", absl::Seconds(120), [&] { Place(), Prepared(Server(0)); }},
      {"PREPARE_TIMEOUT", "worker w0", absl::Seconds(120),
       [&] { Place(), Prepared(Server(0)), Prepared(Server(1)), Prepared(Worker(1)); }},
      {"STOP_TIMEOUT", "worker w1", absl::Seconds(60), [&] { Train(), Cancel(true).IgnoreError(), StopPoint(0, 3); }},
      {"STOP_TIMEOUT", "worker w0", absl::Seconds(60),
       [&] { Train(), Cancel(true).IgnoreError(), StopPoint(0, 3), StopPoint(1, 4), Finished(1, 4); }},
      {"SAVE_TIMEOUT", "server s0", absl::Seconds(120), [&] { Train(), Finished(0, 100), Finished(1, 100); }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(absl::StrCat(row.reason, " ", row.who));
    record_ = fresh;
    row.reach();
    After(row.timeout - absl::Milliseconds(1));
    EXPECT_FALSE(last_.changed);
    After(absl::Milliseconds(1));
    EXPECT_EQ(job().reason(), row.reason);
    EXPECT_THAT(job().message(), HasSubstr(row.who));
    EXPECT_EQ(job().message().find(","), std::string::npos) << job().message();
    After(absl::Seconds(10));  // Nobody answers the release either.
    EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
    EXPECT_EQ(ErrorReason(FromRpcStatus(job().error())), row.reason);
    EXPECT_TRUE(HasEvent("RELEASE_SKIPPED"));
  }
}

TEST_F(JobMachineTest, LossOfAFinishedWorkerIsOnlyAWarning) {
  Train();
  Finished(1, 100);
  Lose(Worker(1));
  EXPECT_TRUE(HasEvent("WORKER_LOST"));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  Finished(0, 100);
  Saved();
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobMachineTest, ReportedFailureKeepsItsReasonAndGetsTheNode) {
  Train();
  const auto error = ToRpcStatus(MakeError(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT", "step 3: NaN"));
  Report(Worker(0), [&](v1::JobReport& r) { *r.mutable_failed() = error; });
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job().reason(), "NON_FINITE_GRADIENT");
  EXPECT_EQ(job().message(), "worker w0: step 3: NaN");
  EXPECT_EQ(GetErrorMetadata(FromRpcStatus(job().error()))["node"], "w0");
}

TEST_F(JobMachineTest, CancelWithSaveStopsAtTheFarthestStopPoint) {
  Train();
  ASSERT_OK(Cancel(true));
  EXPECT_THAT(Commands(), testing::ElementsAre("w0:start", "w0:stop_request", "w1:start", "w1:stop_request"));
  ASSERT_OK(Cancel(true));  // Twice is fine.
  EXPECT_FALSE(last_.changed);
  StopPoint(0, 6);
  StopPoint(1, 7);  // One is a step ahead.
  ASSERT_EQ(last_.commands.size(), 4u);
  EXPECT_EQ(last_.commands[1].message.stop_at().step(), 7u);
  Finished(0, 7);
  Finished(1, 7);
  Saved();
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(job().progress().step(), 7u);
  EXPECT_EQ(job().output_directory(), "/out/job-1");
  EXPECT_THAT(Cancel(true), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_ALREADY_FINISHED"));
}

TEST_F(JobMachineTest, CancelWithoutSaveReleasesAtOnce) {
  Train();
  ASSERT_OK(Cancel(false));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_RELEASING);
  ASSERT_OK(Cancel(false));
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(job().final_weights_sha256().empty());
}

TEST_F(JobMachineTest, CancelWithoutSaveOverrulesOneWithSave) {
  Train();
  ASSERT_OK(Cancel(true));
  ASSERT_OK(Cancel(false));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_RELEASING);
}

TEST_F(JobMachineTest, CancelOfAPendingJobIsImmediate) {
  ASSERT_OK(Cancel(true));
  EXPECT_EQ(job().state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(JobMachineTest, ReconnectedDaemonGetsThePhasesCommandAgain) {
  Place();
  Do([](JobMachine& m) { m.OnReconnected(Server(0), false); });
  EXPECT_THAT(Commands(), testing::ElementsAre("s0:prepare_server"));
  Prepared(Server(0));
  Do([](JobMachine& m) { m.OnReconnected(Server(0), true); });
  EXPECT_TRUE(Commands().empty());
  Prepared(Server(1));
  for (int i = 0; i < 2; ++i) Prepared(Worker(i));
  Do([](JobMachine& m) { m.OnReconnected(Worker(1), true); });
  EXPECT_THAT(Commands(), testing::ElementsAre("w1:start"));
  Do([](JobMachine& m) { m.OnReconnected(Worker(1), false); });
  EXPECT_TRUE(HasEvent("WORKER_LOST"));
  EXPECT_THAT(last_.events.front().message(), HasSubstr("without the job"));
}

TEST_F(JobMachineTest, EvaluationIsCompleteWhenAllWorkersHaveReported) {
  Train();
  const auto evaluate = [&](int worker, uint64_t step, double loss, uint64_t count, uint64_t correct) {
    Report(Worker(worker), [&](v1::JobReport& r) {
      r.mutable_evaluation()->set_step(step);
      r.mutable_evaluation()->set_loss_sum(loss);
      r.mutable_evaluation()->set_count(count);
      r.mutable_evaluation()->set_correct(correct);
    });
  };
  evaluate(0, 20, 1000, 1, 1);  // A later step first.
  evaluate(0, 10, 6, 3, 1);
  EXPECT_FALSE(job().progress().has_validation_loss());
  evaluate(0, 10, 6, 3, 1);  // Repeated: counted once.
  evaluate(1, 10, 2, 1, 1);
  EXPECT_DOUBLE_EQ(job().progress().validation_loss(), 2.0);
  EXPECT_DOUBLE_EQ(job().progress().validation_accuracy(), 0.5);
  EXPECT_EQ(job().progress().validation_step(), 10u);
  EXPECT_EQ(events_.back().reason(), "EVALUATED");
  evaluate(1, 20, 0, 1, 0);
  EXPECT_DOUBLE_EQ(job().progress().validation_loss(), 500.0);
}

TEST_F(JobMachineTest, SharesThatNoEvaluationHasAreIgnored) {
  Train();
  const auto evaluate = [&](uint32_t share, uint32_t shares) {
    Report(Worker(0), [&](v1::JobReport& r) {
      r.mutable_evaluation()->set_step(10);
      r.mutable_evaluation()->set_count(1);
      r.mutable_evaluation()->set_share(share);
      r.mutable_evaluation()->set_shares(shares);
    });
  };
  evaluate(7, 1);
  evaluate(1, 1);
  evaluate(0, 1'000'000);
  EXPECT_FALSE(job().progress().has_validation_loss());
  EXPECT_EQ(record_.evaluations_size(), 0);
  evaluate(0, 1);
  EXPECT_TRUE(job().progress().has_validation_loss());
}

TEST_F(JobMachineTest, WaitingIsAnEventOnlyWhenTheReasonChanges) {
  Do([](JobMachine& m) { m.OnWaiting("INSUFFICIENT_WORKERS", "waits for 2 more workers"); });
  EXPECT_EQ(last_.events.size(), 1u);
  Do([](JobMachine& m) { m.OnWaiting("INSUFFICIENT_WORKERS", "waits for 1 more worker"); });
  EXPECT_TRUE(last_.changed);
  EXPECT_TRUE(last_.events.empty());
  Do([](JobMachine& m) { m.OnWaiting("INSUFFICIENT_WORKERS", "waits for 1 more worker"); });
  EXPECT_FALSE(last_.changed);
}

TEST_F(JobMachineTest, RestartBeginsTheWaitAnew) {
  Place();
  now_ += absl::Seconds(119);
  Do([](JobMachine& m) { m.OnCoordinatorRestart(); });
  After(absl::Seconds(100));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_PREPARING_SERVERS);
}

}  // namespace
}  // namespace paramd
