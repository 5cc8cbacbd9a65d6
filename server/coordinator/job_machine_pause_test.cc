// Jobs that are paused, and jobs that go on from a checkpoint when somebody says so.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/testing/checkpoint_machine_fixture.h"

namespace paramd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PauseTest : public CheckpointMachineFixture {
 protected:
  void Pause() {
    Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
    Stop(17);
    Commit();
    ReleaseAll();
    ASSERT_EQ(job().state(), v1::JOB_STATE_PAUSED);
  }
};

TEST_F(PauseTest, SavesAtTheCommonStepAndLetsGo) {
  Train();
  Tick();
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
  EXPECT_EQ(record_.job().phase(), v1::JOB_PHASE_STOPPING);
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });  // Again: nothing.
  EXPECT_TRUE(last_.commands.empty());
  Stop(17);
  EXPECT_EQ(record_.job().phase(), v1::JOB_PHASE_SAVING);
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 take 17", "s1 take 17"));
  Commit();
  EXPECT_EQ(record_.job().phase(), v1::JOB_PHASE_RELEASING);
  ReleaseAll();
  EXPECT_EQ(record_.job().state(), v1::JOB_STATE_PAUSED);
  EXPECT_FALSE(record_.job().has_end_time());
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
  Do([](JobMachine& m) { EXPECT_OK(m.OnCancel(false)); });
  EXPECT_EQ(record_.job().state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(PauseTest, ASelectionForAnEarlierLifeIsIgnored) {
  Train();
  Pause();
  Do([](JobMachine& m) { EXPECT_OK(m.OnResume(0)); });
  Place();
  Report(Server(0), [&](v1::JobReport& r) {
    r.set_generation(record_.job().generation() - 1);
    r.mutable_checkpoint()->set_number(UINT64_MAX);
    r.mutable_checkpoint()->set_step(17);
    r.mutable_checkpoint()->mutable_selected()->set_directory(absl::StrCat(kDirectory, "/17"));
  });
  EXPECT_FALSE(record_.restore().selected());
  EXPECT_FALSE(last_.changed);
}

TEST_F(PauseTest, GoesOnInANewGeneration) {
  Train();
  Pause();
  Do([](JobMachine& m) { EXPECT_OK(m.OnResume(0)); });
  EXPECT_EQ(record_.job().state(), v1::JOB_STATE_PENDING);
  Select(17, {"/out/job-1/checkpoints/20: incomplete"});
  EXPECT_EQ(record_.job().generation(), 2u);
  EXPECT_EQ(events_[events_.size() - 2].reason(), "CHECKPOINT_SKIPPED");
  EXPECT_EQ(LastEvent(), "RESTORING");
  ASSERT_EQ(last_.commands.size(), 2u);
  const v1::JobAssignment& assignment = last_.commands[0].message.prepare_server().assignment();
  EXPECT_EQ(assignment.first_step(), 17u);
  EXPECT_EQ(assignment.restore_directory(), "/out/job-1/checkpoints/17");
  Train();
  EXPECT_EQ(last_.commands[0].to, Worker());
  Tick();
  EXPECT_EQ(record_.pending_checkpoint().step(), 20u);
}

TEST_F(PauseTest, AFailedJobGoesOnToo) {
  options_.max_recoveries = 0;
  Train();
  Tick();
  Commit();
  Do([](JobMachine& m) { m.OnNodeLost(Server(1), "gone"); });
  ReleaseAll();
  ASSERT_EQ(record_.job().state(), v1::JOB_STATE_FAILED);
  Do([](JobMachine& m) {
    EXPECT_THAT(m.OnResume(20), StatusIs(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND"));
    EXPECT_OK(m.OnResume(10));
  });
  EXPECT_FALSE(record_.job().has_error());
  EXPECT_EQ(record_.restore().from(), "/out/job-1/checkpoints/10");
  Select(10);
  Train();
}

TEST_F(PauseTest, CodecsThatKeepWhatTheyLoseAreWarnedOf) {
  record_.mutable_job()->mutable_spec()->mutable_optimizer()->add_groups()->set_push_codec(v1::CODEC_INT8);
  Train();
  Pause();
  Do([](JobMachine& m) { EXPECT_OK(m.OnResume(0)); });
  Select(17);
  EXPECT_EQ(LastEvent(), "RESIDUALS_RESET");
  EXPECT_TRUE(events_.back().warning());
}

TEST_F(PauseTest, NothingGoodFailsTheJob) {
  Train();
  Pause();
  Do([](JobMachine& m) { EXPECT_OK(m.OnResume(0)); });
  Place();
  Report(Server(0), [](v1::JobReport& r) {
    r.mutable_checkpoint()->set_number(UINT64_MAX);
    *r.mutable_checkpoint()->mutable_failed() =
        ToRpcStatus(MakeError(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID", "all bad"));
  });
  EXPECT_EQ(record_.outcome().reason(), "CHECKPOINT_INVALID");
  EXPECT_EQ(record_.outcome().state(), v1::JOB_STATE_FAILED);
}

TEST_F(PauseTest, ACheckpointThatCannotBeWrittenIsTriedAgainLaterAndLater) {
  Train();
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
  Stop(17);
  const absl::Time end = now_ + options_.checkpoint_timeout;
  for (int delay : {1, 2, 4, 8, 16, 32, 32, 32}) {
    ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_failed()->set_message("disk full"); });
    EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 abandon 17", "s1 abandon 17"));
    EXPECT_THAT(events_.back().message(), HasSubstr(absl::StrCat("tried again in ", delay, "s")));
    Do([](JobMachine& m) { m.OnReconnected(Server(1), true); });
    EXPECT_THAT(CheckpointCommands(), IsEmpty());
    now_ += absl::Seconds(delay) - absl::Milliseconds(1);
    Tick();
    EXPECT_THAT(CheckpointCommands(), IsEmpty());
    now_ += absl::Milliseconds(1);
    Tick();
    EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 take 17", "s1 take 17"));
    ASSERT_EQ(record_.job().phase(), v1::JOB_PHASE_SAVING);
  }
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_failed()->set_message("disk full"); });
  now_ = end;
  Do([](JobMachine& m) { m.OnTick(); });
  EXPECT_EQ(record_.outcome().reason(), "CHECKPOINT_TIMEOUT");
  EXPECT_THAT(record_.outcome().message(), HasSubstr("disk full"));
}

TEST_F(PauseTest, ADiskThatHasRoomAgainLetsItPause) {
  Train();
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
  Stop(17);
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_failed()->set_message("disk full"); });
  now_ += absl::Seconds(1);
  Tick();
  Commit();
  ReleaseAll();
  EXPECT_EQ(record_.job().state(), v1::JOB_STATE_PAUSED);
}

TEST_F(PauseTest, WithoutWorkersThereIsNoStepToStopAt) {
  Train();
  Lose(Worker());
  Do([](JobMachine& m) {
    EXPECT_THAT(m.OnPause(), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING"));
    EXPECT_THAT(m.OnCancel(true), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING"));
  });
  ASSERT_OK(Cancel(false));
}

TEST_F(PauseTest, WorkersThatAreAllLostMeanwhileEndIt) {
  Train();
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
  Lose(Worker());
  EXPECT_EQ(job().reason(), "WORKER_LOST");
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_RELEASING);
}

TEST_F(PauseTest, RefusedWhereThereIsNothingToPauseOrResume) {
  const auto expect = [&](auto call, absl::StatusCode code, const char* reason) {
    Do([&](JobMachine& m) { EXPECT_THAT(call(m), StatusIs(code, reason)); });
  };
  constexpr auto kFailed = absl::StatusCode::kFailedPrecondition;
  expect([](JobMachine& m) { return m.OnPause(); }, kFailed, "JOB_NOT_TRAINING");
  expect([](JobMachine& m) { return m.OnCreateCheckpoint().status(); }, kFailed, "JOB_NOT_TRAINING");
  expect([](JobMachine& m) { return m.OnResume(0); }, kFailed, "JOB_NOT_RESUMABLE");
  Train();
  expect([](JobMachine& m) { return m.OnResume(0); }, kFailed, "JOB_NOT_RESUMABLE");
  options_.max_recoveries = 0;
  Do([](JobMachine& m) { m.OnNodeLost(Server(1), "gone"); });
  ReleaseAll();
  expect([](JobMachine& m) { return m.OnResume(0); }, absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND");
}

}  // namespace
}  // namespace paramd
