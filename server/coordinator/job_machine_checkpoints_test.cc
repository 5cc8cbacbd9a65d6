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

namespace paramd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kDirectory[] = "/out/job-1/checkpoints";

// A job of 100 steps on servers s0, s1 and worker w0, checkpointed every 10 steps unless changed.
class CheckpointMachineTest : public testing::Test {
 protected:
  CheckpointMachineTest() {
    v1::Job& job = *record_.mutable_job();
    job.set_job_id("job-1");
    job.mutable_spec()->mutable_training()->set_steps(100);
    job.mutable_spec()->mutable_training()->set_slots(4);
    job.mutable_spec()->mutable_model()->mutable_mlp();
    job.mutable_spec()->mutable_checkpoint()->set_every_steps(10);
    job.mutable_spec()->mutable_checkpoint()->set_keep(2);
    Do([](JobMachine& m) { m.OnSubmitted(); });
  }

  void Do(const std::function<void(JobMachine&)>& change) {
    JobMachine machine(record_, options_, now_);
    change(machine);
    last_ = machine.TakeEffects();
    for (const v1::JobEvent& event : last_.events) events_.push_back(event);
  }
  // As the coordinator's tick.
  void Tick() {
    Do([&](JobMachine& m) {
      if (JobMachine::CheckpointDue(record_, now_)) m.OnCheckpointTick();
    });
  }
  static NodeRef Server(int i) { return {v1::NODE_ROLE_SERVER, absl::StrCat("s", i), 7}; }
  static NodeRef Worker() { return {v1::NODE_ROLE_WORKER, "w0", 9}; }

  void Place() {
    v1::Placement placement;
    for (int i = 0; i < 2; ++i) {
      placement.add_servers()->set_node_id(Server(i).node_id);
      placement.mutable_servers(i)->set_incarnation(7);
    }
    placement.add_workers()->set_node_id("w0");
    placement.mutable_workers(0)->set_incarnation(9);
    placement.mutable_workers(0)->set_slot_count(4);
    Do([&](JobMachine& m) { m.OnPlaced(placement); });
  }
  void Report(const NodeRef& from, const std::function<void(v1::JobReport&)>& fill) {
    v1::JobReport report;
    report.set_job_id("job-1");
    report.set_generation(record_.job().generation());
    fill(report);
    Do([&](JobMachine& m) { m.OnReport(from, report); });
  }
  // About the checkpoint that is being taken.
  void ReportCheckpoint(const NodeRef& from, const std::function<void(v1::CheckpointReport&)>& fill) {
    Report(from, [&](v1::JobReport& r) {
      r.mutable_checkpoint()->set_number(record_.pending_checkpoint().number());
      r.mutable_checkpoint()->set_step(record_.pending_checkpoint().step());
      fill(*r.mutable_checkpoint());
    });
  }
  void Prepare() {
    for (int i = 0; i < 2; ++i) {
      Report(Server(i), [](v1::JobReport& r) { r.mutable_prepared()->set_checkpoint_directory(kDirectory); });
    }
    Report(Worker(), [](v1::JobReport& r) { r.mutable_prepared(); });
    ASSERT_EQ(record_.job().phase(), v1::JOB_PHASE_TRAINING);
  }
  void Train() {
    Place();
    Prepare();
  }
  void ReportShards() {
    for (int i = 0; i < 2; ++i) {
      ReportCheckpoint(Server(i), [i](v1::CheckpointReport& r) {
        r.mutable_shard()->add_files()->set_name(absl::StrCat("server-", i, ".shard"));
      });
    }
  }
  void Commit(std::vector<uint64_t> removed = {}) {
    ReportShards();
    ReportCheckpoint(Server(0), [&](v1::CheckpointReport& r) {
      r.mutable_committed()->set_bytes(1000);
      for (uint64_t step : removed) r.mutable_committed()->add_removed(step);
    });
  }
  // "s0 take 10", ...
  std::vector<std::string> Commands() const {
    std::vector<std::string> names;
    for (const JobCommand& command : last_.commands) {
      if (!command.message.has_checkpoint()) continue;
      const v1::CheckpointCommand& c = command.message.checkpoint();
      const std::string what = c.has_take()      ? "take"
                               : c.has_commit()  ? "commit"
                               : c.has_abandon() ? "abandon"
                               : c.has_select()  ? "select"
                               : c.has_verify()  ? "verify"
                                                 : "remove";
      names.push_back(absl::StrCat(command.to.node_id, " ", what, " ", c.step()));
    }
    return names;
  }
  std::vector<uint64_t> Steps() const {
    std::vector<uint64_t> steps;
    for (const v1::Checkpoint& c : record_.checkpoints()) steps.push_back(c.step());
    return steps;
  }
  std::string LastEvent() const { return events_.empty() ? "" : events_.back().reason(); }

  coordinator::JobRecord record_;
  JobMachineOptions options_;
  absl::Time now_ = absl::FromUnixSeconds(1000);
  JobEffects last_;
  std::vector<v1::JobEvent> events_;
};

TEST_F(CheckpointMachineTest, PeriodicOnesOneAfterTheOther) {
  Train();
  Tick();
  EXPECT_THAT(Commands(), ElementsAre("s0 take 10", "s1 take 10"));
  Tick();
  EXPECT_THAT(Commands(), IsEmpty());
  ReportCheckpoint(Server(1), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  EXPECT_THAT(Commands(), IsEmpty());
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  EXPECT_THAT(Commands(), ElementsAre("s0 commit 10"));
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
  EXPECT_THAT(Commands(), ElementsAre("s0 take 30", "s1 take 30"));
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_missed()->set_version(98); });
  EXPECT_THAT(Commands(), ElementsAre("s0 abandon 30", "s1 abandon 30"));
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
  EXPECT_THAT(Commands(), ElementsAre("s0 take 5", "s1 take 5"));
  Do([&](JobMachine& m) { created = m.OnCreateCheckpoint(); });
  EXPECT_EQ(created->step(), 5u);
  EXPECT_THAT(Commands(), IsEmpty());
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
  EXPECT_THAT(Commands(), ElementsAre("s0 abandon 10", "s1 abandon 10"));
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
  EXPECT_THAT(Commands(), ElementsAre("s1 take 10"));
  ReportCheckpoint(Server(1), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  Do([](JobMachine& m) { m.OnReconnected(Server(1), true); });
  EXPECT_THAT(Commands(), IsEmpty());
  ReportCheckpoint(Server(0), [](v1::CheckpointReport& r) { r.mutable_shard(); });
  Do([](JobMachine& m) { m.OnReconnected(Server(0), true); });
  EXPECT_THAT(Commands(), ElementsAre("s0 commit 10"));
}

class PauseTest : public CheckpointMachineTest {
 protected:
  void Stop(uint64_t step) {
    Report(Worker(), [&](v1::JobReport& r) { r.mutable_stop_point()->set_step(step); });
    Report(Worker(), [&](v1::JobReport& r) { r.mutable_finished()->set_step(step); });
  }
  void ReleaseAll() {
    for (int i = 0; i < 2; ++i) Report(Server(i), [](v1::JobReport& r) { r.mutable_released(); });
    Report(Worker(), [](v1::JobReport& r) { r.mutable_released(); });
  }
  void Pause() {
    Do([](JobMachine& m) { EXPECT_OK(m.OnPause()); });
    Stop(17);
    Commit();
    ReleaseAll();
    ASSERT_EQ(record_.job().state(), v1::JOB_STATE_PAUSED);
  }
  // Placed again; the lead answers the search for a checkpoint.
  void Select(uint64_t step, std::vector<std::string> skipped = {}) {
    Place();
    ASSERT_THAT(Commands(), ElementsAre(absl::StrCat("s0 select ", record_.restore().step())));
    Report(Server(0), [&](v1::JobReport& r) {
      r.mutable_checkpoint()->set_number(UINT64_MAX);
      r.mutable_checkpoint()->set_step(step);
      v1::CheckpointSelected& selected = *r.mutable_checkpoint()->mutable_selected();
      selected.set_directory(absl::StrCat(kDirectory, "/", step));
      for (const std::string& what : skipped) selected.add_skipped(what);
    });
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
  EXPECT_THAT(Commands(), ElementsAre("s0 take 17", "s1 take 17"));
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
  Prepare();
  EXPECT_EQ(last_.commands[0].to, Worker());
  Tick();
  EXPECT_EQ(record_.pending_checkpoint().step(), 20u);
}

TEST_F(PauseTest, AFailedJobGoesOnToo) {
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
  Prepare();
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
    EXPECT_THAT(Commands(), ElementsAre("s0 abandon 17", "s1 abandon 17"));
    EXPECT_THAT(events_.back().message(), HasSubstr(absl::StrCat("tried again in ", delay, "s")));
    Do([](JobMachine& m) { m.OnReconnected(Server(1), true); });
    EXPECT_THAT(Commands(), IsEmpty());
    now_ += absl::Seconds(delay) - absl::Milliseconds(1);
    Tick();
    EXPECT_THAT(Commands(), IsEmpty());
    now_ += absl::Milliseconds(1);
    Tick();
    EXPECT_THAT(Commands(), ElementsAre("s0 take 17", "s1 take 17"));
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
  Do([](JobMachine& m) { m.OnNodeLost(Server(1), "gone"); });
  ReleaseAll();
  expect([](JobMachine& m) { return m.OnResume(0); }, absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND");
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
  EXPECT_THAT(Commands(), ElementsAre("any verify 20"));
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
  EXPECT_THAT(Commands(), ElementsAre("any remove 20"));
  answer(20, [](v1::CheckpointReport& r) { r.mutable_deleted(); });
  EXPECT_THAT(Steps(), ElementsAre(10));
  Do([&](JobMachine& m) { EXPECT_OK(m.OnDeleteCheckpoint(10, true, any)); });
  answer(10, [](v1::CheckpointReport& r) { r.mutable_failed()->set_message("read-only"); });
  EXPECT_EQ(record_.checkpoints(0).state(), v1::CHECKPOINT_STATE_COMMITTED);
  EXPECT_EQ(LastEvent(), "CHECKPOINT_NOT_DELETED");
}

}  // namespace
}  // namespace paramd
