// Jobs that lose a server.
#include <string>

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

class RecoveryTest : public CheckpointMachineFixture {
 protected:
  void Reach(uint64_t step) { record_.mutable_job()->mutable_progress()->set_step(step); }
  // Takes the checkpoint that is due.
  void Checkpoint() {
    Tick();
    Commit();
  }
  void LoseServer(int i) {
    Lose(Server(i));
    ReleaseAll();
  }
};

TEST_F(RecoveryTest, GoesOnFromTheNewestCheckpoint) {
  Train();
  Checkpoint();
  Reach(17);
  Lose(Server(1));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_RELEASING);
  EXPECT_EQ(job().reason(), "SERVER_LOST");
  EXPECT_TRUE(HasEvent("SERVER_LOST"));
  EXPECT_THAT(Commands(), ElementsAre("s0:release", "w0:release"));  // The dead one is not asked.
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_QUEUED);
  EXPECT_FALSE(job().has_error());
  EXPECT_FALSE(job().has_end_time());
  EXPECT_THAT(events_.back().message(),
              HasSubstr("the newest good checkpoint in /out/job-1/checkpoints; attempt 1 of 5 "
                        "to get beyond step 17"));
  Select(10);
  EXPECT_EQ(job().generation(), 2u);
  EXPECT_EQ(job().progress().step(), 10u);
  Train();
  Stop(100);
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_SAVING);
}

TEST_F(RecoveryTest, WithoutACheckpointItBeginsAgain) {
  Train();
  Reach(7);
  record_.mutable_job()->mutable_progress()->set_validation_step(5);
  record_.mutable_job()->mutable_progress()->set_validation_loss(1);
  LoseServer(0);
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
  EXPECT_FALSE(record_.has_restore());
  EXPECT_EQ(job().progress().step(), 0u);
  EXPECT_FALSE(job().progress().has_validation_loss());
  EXPECT_THAT(events_.back().message(), HasSubstr("the initial weights"));
  Place();
  EXPECT_THAT(Commands(), ElementsAre("s0:prepare_server", "s1:prepare_server"));
  Train();
  Tick();
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 take 10", "s1 take 10"));
}

TEST_F(RecoveryTest, WithoutACheckpointOfItsOwnItBeginsWhereItOnceDid) {
  Do([](JobMachine& m) { m.RestoreFrom("/elsewhere"); });
  Select(50);
  Train();
  LoseServer(0);
  EXPECT_EQ(record_.restore().from(), "/elsewhere");
  EXPECT_FALSE(record_.restore().selected());
  Select(50);
  EXPECT_EQ(job().progress().step(), 50u);
}

TEST_F(RecoveryTest, TheDiskKnowsWhetherACheckpointWasTaken) {
  Train();
  Tick();  // The commit may be done, and nobody there any more to tell of it.
  Reach(12);
  LoseServer(0);
  EXPECT_EQ(record_.restore().from(), kDirectory);
  Place();
  Report(Server(0), [](v1::JobReport& r) {
    r.mutable_checkpoint()->set_number(UINT64_MAX);
    *r.mutable_checkpoint()->mutable_failed() =
        ToRpcStatus(MakeError(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND", "nothing there"));
  });
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_PREPARING_SERVERS);
  EXPECT_THAT(Commands(), ElementsAre("s0:prepare_server", "s1:prepare_server"));
  EXPECT_FALSE(record_.has_restore());
  EXPECT_EQ(job().progress().step(), 0u);
  Train();
}

TEST_F(RecoveryTest, ACheckpointThatTheNewLeadDoesNotSeeIsNotForgotten) {
  Train();
  Checkpoint();
  LoseServer(0);
  Place();
  Report(Server(0), [](v1::JobReport& r) {
    r.mutable_checkpoint()->set_number(UINT64_MAX);
    *r.mutable_checkpoint()->mutable_failed() =
        ToRpcStatus(MakeError(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND", "nothing there"));
  });
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job().message(), HasSubstr("nothing there"));
}

TEST_F(RecoveryTest, TheStepThatSomebodyChoseIsChosenAgain) {
  options_.max_recoveries = 1;
  Train();
  Checkpoint();
  Reach(20);
  Checkpoint();
  ASSERT_OK(Cancel(false));
  ReleaseAll();
  Do([](JobMachine& m) { EXPECT_OK(m.OnResume(10)); });
  Select(10);
  LoseServer(1);
  EXPECT_EQ(record_.restore().step(), 10u);
  Select(10);
  Train();
  Tick();
  Commit();
  Reach(31);
  LoseServer(1);
  EXPECT_EQ(record_.restore().step(), 0u);
  EXPECT_EQ(record_.restore().from(), kDirectory);
}

TEST_F(RecoveryTest, WaitsForServersThatAreLargeEnough) {
  Train();
  LoseServer(0);
  Do([](JobMachine& m) { m.OnUnschedulable(absl::ResourceExhaustedError("no server has 20 GiB")); });
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job().reason(), "INSUFFICIENT_MEMORY");
}

TEST_F(RecoveryTest, TheOnlyWorkerOfAJobThatPreparesItself) {
  Place();
  Lose(Worker());
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
}

TEST_F(RecoveryTest, WhatTheLostStepsHadCountedIsCountedOnce) {
  Train();
  Checkpoint();
  record_.mutable_job()->mutable_progress()->set_samples(2000);
  Reach(20);
  LoseServer(0);
  Select(10);
  EXPECT_EQ(job().progress().samples(), 1000u);
  EXPECT_EQ(record_.base_samples(), 1000u);
}

TEST_F(RecoveryTest, InEveryPhase) {
  Place();
  LoseServer(0);
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
  Place();
  for (int i = 0; i < 2; ++i) Prepared(Server(i));
  LoseServer(0);
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
  Train();
  Finished(0, 100);
  ASSERT_EQ(job().phase(), v1::JOB_PHASE_SAVING);
  LoseServer(1);
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
}

TEST_F(RecoveryTest, AttemptsThatGetNoFurtherAreBounded) {
  options_.max_recoveries = 2;
  Train();
  Reach(5);
  for (int i = 0; i < 2; ++i) {
    LoseServer(0);
    ASSERT_EQ(job().state(), v1::JOB_STATE_PENDING);
    Train();
    Reach(5);  // Again.
  }
  Reach(6);
  LoseServer(0);
  ASSERT_EQ(job().state(), v1::JOB_STATE_PENDING) << "a step further";
  Train();
  Checkpoint();
  Reach(12);
  LoseServer(0);
  ASSERT_EQ(job().state(), v1::JOB_STATE_PENDING) << "another checkpoint";
  Select(10);
  Train();
  LoseServer(0);
  ASSERT_EQ(job().state(), v1::JOB_STATE_PENDING);
  Select(10);
  Train();
  LoseServer(0);
  EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(ErrorReason(FromRpcStatus(job().error())), "SERVER_LOST");
  Do([](JobMachine& m) { EXPECT_OK(m.OnResume(0)); });
  EXPECT_EQ(record_.recovery().attempts(), 0u) << "somebody has had a look";
}

TEST_F(RecoveryTest, NotWhenItIsToEnd) {
  Train();
  ASSERT_OK(Cancel(true));
  LoseServer(0);
  EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
}

TEST_F(RecoveryTest, NotWhenItIsToPause) {
  Train();
  Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
  LoseServer(0);
  EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
}

TEST_F(RecoveryTest, CancelledWhileItLetsGo) {
  Train();
  Reach(8);
  Lose(Server(0));
  ASSERT_OK(Cancel(true));
  EXPECT_TRUE(HasEvent("CANCEL_REQUESTED"));
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(job().message(), "cancelled at step 8; weights not saved");
}

TEST_F(RecoveryTest, AServerThatIsAnotherByNowIsLost) {
  for (const char* reason : {"JOB_NOT_FOUND", "JOB_RELEASED", "LEASE_LOST"}) {
    Train();
    Report(Worker(0), [&](v1::JobReport& r) {
      *r.mutable_failed() = ToRpcStatus(MakeError(absl::StatusCode::kNotFound, reason, "no such job here"));
    });
    ReleaseAll();
    EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING) << reason;
  }
}

TEST_F(RecoveryTest, AServerThatCannotBeReachedIsAsGoodAsLost) {
  const auto unreachable = [&] {
    Report(Worker(0), [](v1::JobReport& r) {
      *r.mutable_failed() =
          ToRpcStatus(MakeError(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE", "connection refused"));
    });
  };
  Train();
  unreachable();
  Lose(Server(1));  // Noticed later.
  EXPECT_EQ(job().reason(), "SERVER_LOST");
  EXPECT_THAT(job().message(), testing::AllOf(HasSubstr("server s1"), HasSubstr("connection refused")));
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_PENDING);
  Place();
  for (int i = 0; i < 2; ++i) Prepared(Server(i));
  unreachable();  // It cannot even begin: that is for people to see.
  ReleaseAll();
  EXPECT_EQ(job().state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job().reason(), "SERVER_UNREACHABLE");
}

}  // namespace
}  // namespace paramd
