#include <functional>
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

using CheckpointMachineTest = CheckpointMachineFixture;

TEST_F(CheckpointMachineTest, PeriodicOnesOneAfterTheOther) {
  Train();
  Tick();
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 take 10", "s1 take 10"));
  Tick();
  EXPECT_THAT(CheckpointCommands(), IsEmpty());
  ReportCheckpoint(Server(1), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  EXPECT_THAT(CheckpointCommands(), IsEmpty());
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 commit 10"));
  EXPECT_EQ(last_.commands[0].message.checkpoint().commit().shards_size(), 2);
  EXPECT_EQ(last_.commands[0].message.checkpoint().commit().keep(), 2u);
  Commit();
  EXPECT_EQ(LastEvent(), "CHECKPOINTED");
  EXPECT_THAT(Steps(), ElementsAre(10));
  EXPECT_EQ(record_.checkpoints(0).directory(), "/out/job-1/checkpoints/10");
  for (uint64_t step : {20, 30}) {
    Tick();
    EXPECT_EQ(record_.pending_checkpoint().step(), step);
    Commit(step == 30 ? std::vector<uint64_t>{10} : std::vector<uint64_t>());
  }
  EXPECT_THAT(Steps(), ElementsAre(20, 30));
}

TEST_F(CheckpointMachineTest, NoneAtTheEnd) {
  record_.mutable_job()->mutable_spec()->mutable_checkpoint()->set_every_steps(50);
  Train();
  Tick();
  Commit();
  Tick();
  EXPECT_FALSE(record_.has_pending_checkpoint());
  EXPECT_FALSE(JobMachine::CheckpointDue(record_, now_));
}

TEST_F(CheckpointMachineTest, AStepThatIsPastIsTriedLater) {
  Train();
  Tick();
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_missed()->set_version(25); });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 take 30", "s1 take 30"));
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_missed()->set_version(98); });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 abandon 30", "s1 abandon 30"));
  EXPECT_FALSE(record_.has_pending_checkpoint());
  EXPECT_FALSE(JobMachine::CheckpointDue(record_, now_));
}

TEST_F(CheckpointMachineTest, OnRequestSoonAndTwiceTheSame) {
  Train();
  Tick();
  record_.mutable_job()->mutable_progress()->set_step(3);
  absl::StatusOr<v1::Checkpoint> created = absl::UnknownError("");
  Do([&](JobMachine& m) { created = m.OnCreateCheckpoint(); });
  ASSERT_OK(created);
  EXPECT_EQ(created->step(), 5u);  // Before the periodic one.
  EXPECT_EQ(created->state(), v1::CHECKPOINT_STATE_WRITING);
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 take 5", "s1 take 5"));
  Do([&](JobMachine& m) { created = m.OnCreateCheckpoint(); });
  EXPECT_EQ(created->step(), 5u);
  EXPECT_THAT(CheckpointCommands(), IsEmpty());
  for (uint64_t expected : {7 + 1 + 1, 20 + 1 + 2, 30 + 1 + 4}) {
    const uint64_t version = expected == 9 ? 7 : expected == 23 ? 20 : 30;
    ReportCheckpoint(Server(1), [&](v1::CheckpointReport& r) { r.mutable_missed()->set_version(version); });
    EXPECT_EQ(record_.pending_checkpoint().step(), expected);
  }
  ReportCheckpoint(Server(1), [&](v1::CheckpointReport& r) { r.mutable_missed()->set_version(99); });
  EXPECT_EQ(record_.pending_checkpoint().step(), 100u);  // The last one: it stays.
  Commit();
  EXPECT_THAT(Steps(), ElementsAre(100));
}

TEST_F(CheckpointMachineTest, OldNumbersAndStrangersAreIgnored) {
  Train();
  Tick();
  const uint64_t number = record_.pending_checkpoint().number();
  ReportCheckpoint({v1::NODE_ROLE_SERVER, "s0", 8}, [](v1::CheckpointReport& r) { r.mutable_shard(); });
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_missed()->set_version(11); });
  Report(Server(0), [&](v1::JobReport& r) {
    r.mutable_checkpoint()->set_number(number);
    r.mutable_checkpoint()->mutable_shard();
  });
  EXPECT_TRUE(record_.pending_checkpoint().server_shards().empty());
}

TEST_F(CheckpointMachineTest, AFailureIsToldAndTheNextOneTried) {
  Train();
  Tick();
  ReportCheckpoint(Server(1), [](v1::CheckpointReport& r) {
    *r.mutable_failed() = ToRpcStatus(MakeError(absl::StatusCode::kResourceExhausted, "NO_SPACE", "disk full"));
  });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 abandon 10", "s1 abandon 10"));
  EXPECT_EQ(LastEvent(), "CHECKPOINT_FAILED");
  EXPECT_THAT(events_.back().message(), HasSubstr("server s1: disk full"));
  const std::vector<v1::Checkpoint> all = JobMachine::Checkpoints(record_);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state(), v1::CHECKPOINT_STATE_FAILED);
  Tick();
  EXPECT_EQ(record_.pending_checkpoint().step(), 20u);
  Commit();
  EXPECT_FALSE(record_.has_failed_checkpoint());
}

TEST_F(CheckpointMachineTest, ADeadlineBeginsWhenTheStepIsReached) {
  Train();
  Tick();
  now_ += absl::Hours(5);
  Tick();
  EXPECT_FALSE(record_.pending_checkpoint().has_deadline());
  record_.mutable_job()->mutable_progress()->set_step(10);
  Tick();
  now_ += options_.checkpoint_timeout - absl::Seconds(1);
  Tick();
  EXPECT_TRUE(record_.has_pending_checkpoint());
  now_ += absl::Seconds(1);
  Tick();
  EXPECT_EQ(LastEvent(), "CHECKPOINT_FAILED");
  EXPECT_THAT(events_.back().message(), HasSubstr("server s0, server s1"));
}

TEST_F(CheckpointMachineTest, AServerThatWasAwayIsToldAgain) {
  Train();
  Tick();
  Do([](JobMachine& m) { m.OnReconnected(Server(1), true); });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s1 take 10"));
  ReportCheckpoint(Server(1), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  Do([](JobMachine& m) { m.OnReconnected(Server(1), true); });
  EXPECT_THAT(CheckpointCommands(), IsEmpty());
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  Do([](JobMachine& m) { m.OnReconnected(Server(0), true); });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("s0 commit 10"));
}

TEST_F(CheckpointMachineTest, VerifiesAndDeletes) {
  Train();
  Tick();
  Commit();
  Tick();
  Commit();
  const auto answer = [&](uint64_t step, const std::function<void(v1::CheckpointReport&)>& fill) {
    Report({v1::NODE_ROLE_SERVER, "any", 1}, [&](v1::JobReport& r) {
      r.mutable_checkpoint()->set_step(step);
      fill(*r.mutable_checkpoint());
    });
  };
  const NodeRef any = {v1::NODE_ROLE_SERVER, "any", 1};
  Do([&](JobMachine& m) { EXPECT_OK(m.OnVerifyCheckpoint(0, any)); });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("any verify 20"));
  EXPECT_TRUE(JobMachine::CheckpointBusy(record_));
  Do([&](JobMachine& m) {
    EXPECT_THAT(m.OnDeleteCheckpoint(20, true, any),
                StatusIs(absl::StatusCode::kFailedPrecondition, "CHECKPOINT_BUSY"));
  });
  answer(20, [](v1::CheckpointReport& r) {
    *r.mutable_failed() = ToRpcStatus(MakeError(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID", "chunk 3"));
  });
  EXPECT_EQ(LastEvent(), "CHECKPOINT_CORRUPT");
  EXPECT_EQ(record_.checkpoints(1).state(), v1::CHECKPOINT_STATE_CORRUPT);
  Do([&](JobMachine& m) { EXPECT_OK(m.OnVerifyCheckpoint(10, any)); });
  answer(10, [](v1::CheckpointReport& r) { r.mutable_verified(); });
  EXPECT_TRUE(record_.checkpoints(0).has_verify_time());
  Do([&](JobMachine& m) {
    EXPECT_THAT(m.OnDeleteCheckpoint(10, false, any),
                StatusIs(absl::StatusCode::kFailedPrecondition, "ONLY_CHECKPOINT"));
    EXPECT_THAT(m.OnDeleteCheckpoint(11, false, any), StatusIs(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND"));
    EXPECT_OK(m.OnDeleteCheckpoint(20, false, any));
  });
  EXPECT_THAT(CheckpointCommands(), ElementsAre("any remove 20"));
  answer(20, [](v1::CheckpointReport& r) { r.mutable_deleted(); });
  EXPECT_THAT(Steps(), ElementsAre(10));
  Do([&](JobMachine& m) { EXPECT_OK(m.OnDeleteCheckpoint(10, true, any)); });
  answer(10, [](v1::CheckpointReport& r) { r.mutable_failed()->set_message("read-only"); });
  EXPECT_EQ(record_.checkpoints(0).state(), v1::CHECKPOINT_STATE_COMMITTED);
  EXPECT_EQ(LastEvent(), "CHECKPOINT_NOT_DELETED");
}

}  // namespace
}  // namespace paramd
