// Workers that come and go while a job trains.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/testing/job_machine_fixture.h"

namespace paramd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Text(const v1::SlotSpan& span) { return absl::StrCat(span.first_slot(), "+", span.slot_count()); }

// A job of 6 slots on workers w0..w2 with two slots each.
class MembershipTest : public JobMachineFixture {
 protected:
  MembershipTest() : JobMachineFixture({.workers = 3, .slots = 6}) { Submit(); }
  // The server has adopted the generation; it lacks these slots of the step.
  void Adopted(int server, uint64_t step, const std::vector<std::pair<uint32_t, uint32_t>>& missing) {
    Report(Server(server), [&](v1::JobReport& r) {
      r.mutable_generation_adopted()->set_step(step);
      for (const auto& [first, count] : missing) {
        v1::SlotSpan& span = *r.mutable_generation_adopted()->add_missing();
        span.set_first_slot(first);
        span.set_slot_count(count);
      }
    });
  }
  void FinishedOf(uint64_t generation, int worker, uint64_t step) {
    ReportOf(generation, Worker(worker), [&](v1::JobReport& r) { r.mutable_finished()->set_step(step); });
  }
  void Offer(int worker) {
    Do([&](JobMachine& m) { m.OnWorkerOffered(Worker(worker)); });
  }
  // What the worker was told last.
  v1::ChangeGeneration Change(const std::string& node) const {
    for (auto command = all_commands_.rbegin(); command != all_commands_.rend(); ++command) {
      if (command->to.node_id == node && command->message.has_change_generation()) {
        return command->message.change_generation();
      }
    }
    ADD_FAILURE() << node << " was told nothing";
    return {};
  }
  // The same as "own 0+2, inherits 4+1, then 0+3".
  std::string Told(const std::string& node) const {
    const v1::ChangeGeneration change = Change(node);
    std::vector<std::string> inherited;
    for (const v1::SlotSpan& span : change.inherited()) inherited.push_back(Text(span));
    const v1::WorkerPlacement& place = change.placement().workers(static_cast<int>(change.worker_index()));
    EXPECT_EQ(place.node_id(), node);
    return absl::StrCat("own ", Text(change.own()), ", inherits ", absl::StrJoin(inherited, " "), ", then ",
                        place.first_slot(), "+", place.slot_count());
  }
};

TEST_F(MembershipTest, ServersAdoptFirstThenTheOthersTakeOverWhatIsMissing) {
  Train();
  Lose(Worker(1));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  EXPECT_EQ(job().generation(), 2u);
  EXPECT_THAT(Commands(), ElementsAre("s0:change_generation", "s1:change_generation"));
  Adopted(1, 7, {});
  EXPECT_TRUE(Commands().empty());
  Adopted(1, 6, {{0, 6}});          // Only its first answer counts.
  Adopted(0, 6, {{2, 1}, {4, 2}});  // Of w1 slot 2 is missing; w2 is not done yet.
  EXPECT_THAT(Commands(), ElementsAre("w0:change_generation", "w0:start", "w2:change_generation", "w2:start"));
  EXPECT_EQ(Change("w0").step(), 6u);
  EXPECT_EQ(Told("w0"), "own 0+2, inherits 2+1, then 0+3");
  EXPECT_EQ(Told("w2"), "own 4+2, inherits , then 3+3");
  EXPECT_EQ(Events("WORKER_LOST"), 1);
  EXPECT_EQ(Events("GENERATION_CHANGED"), 1);
  EXPECT_EQ(Events("WORKER_JOINED"), 0);
}

TEST_F(MembershipTest, ALossDuringAChangeBeginsAnotherOnTheSameDealing) {
  Train();
  Lose(Worker(1));
  Adopted(0, 6, {{2, 2}});
  Lose(Worker(0));
  EXPECT_EQ(job().generation(), 3u);
  ReportOf(2, Server(1), [](v1::JobReport& r) { r.mutable_generation_adopted()->set_step(0); });  // Late.
  Adopted(0, 6, {{0, 4}});
  Adopted(1, 6, {{1, 3}});
  EXPECT_EQ(Told("w2"), "own 4+2, inherits 0+4, then 0+6");
}

TEST_F(MembershipTest, InheritedSlotsAreInheritedOnce) {
  Train();
  Lose(Worker(1));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{2, 2}, {4, 2}});
  EXPECT_EQ(Told("w0"), "own 0+2, inherits 2+1, then 0+3");
  EXPECT_EQ(Told("w2"), "own 4+2, inherits 3+1, then 3+3");
  // w2 goes in the same step: its own slots and the one it had inherited.
  Lose(Worker(2));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{2, 4}});
  EXPECT_EQ(Told("w0"), "own 0+2, inherits 2+4, then 0+6");
}

TEST_F(MembershipTest, TheNewDealingHoldsFromTheNextStepOn) {
  Train();
  Lose(Worker(1));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{2, 4}});
  Lose(Worker(2));
  for (int i = 0; i < 2; ++i) Adopted(i, 7, {{0, 6}});
  EXPECT_EQ(Told("w0"), "own 0+3, inherits 3+3, then 0+6");
}

TEST_F(MembershipTest, ALostWorkerMayComeBack) {
  Train();
  for (int i = 0; i < 3; ++i) Lose(Worker(i));
  Offer(1);
  EXPECT_THAT(Commands(), ElementsAre("w1:prepare_worker"));
  Offer(1);
  EXPECT_THAT(Commands(), ElementsAre()) << "it has been asked already";
  Prepared(Worker(1));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{1, 5}});
  EXPECT_EQ(job().placement().workers_size(), 1);
  EXPECT_THAT(Commands(), ElementsAre("w1:change_generation", "w1:start"));
}

TEST_F(MembershipTest, WithoutWorkersTheJobWaitsForOneAndItTakesOverEverything) {
  Train();
  for (int i = 0; i < 3; ++i) Lose(Worker(i));
  EXPECT_EQ(job().reason(), "WAITING_FOR_WORKERS");
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  EXPECT_EQ(JobMachine::WorkersMissing(record_, now_), 3u);
  Offer(5);
  EXPECT_THAT(Commands(), ElementsAre("w5:prepare_worker"));
  EXPECT_TRUE(last_.commands[0].message.prepare_worker().joining());
  Prepared(Worker(5));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{1, 5}});
  EXPECT_EQ(Told("w5"), "own 0+0, inherits 1+5, then 0+6");
  EXPECT_THAT(Commands(), ElementsAre("w5:change_generation", "w5:start"));
  EXPECT_EQ(Events("WORKER_JOINED"), 1);
  EXPECT_EQ(job().reason(), "TRAINING");
}

TEST_F(MembershipTest, WithoutWorkersForTooLongTheJobFails) {
  Train();
  for (int i = 0; i < 3; ++i) Lose(Worker(i));
  After(options_.workers_timeout - absl::Seconds(1));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  After(absl::Seconds(1));
  EXPECT_EQ(job().reason(), "WORKERS_TIMEOUT");
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_RELEASING);
}

TEST_F(MembershipTest, AWorkerThatComesBackHasNothingOfWhatItHad) {
  Train();
  Lose(Worker(1));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{2, 1}});
  Offer(1);  // The same incarnation.
  Prepared(Worker(1));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{2, 1}});
  EXPECT_EQ(Told("w1"), "own 0+0, inherits , then 4+2");
  EXPECT_EQ(Told("w0"), "own 0+2, inherits 2+1, then 0+2");
}

TEST_F(MembershipTest, ScalesUpAndDown) {
  Train();
  const auto scale = [&](uint32_t workers) {
    absl::Status status;
    Do([&](JobMachine& m) { status = m.OnScale(workers); });
    return status;
  };
  EXPECT_THAT(scale(0), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_WORKERS"));
  EXPECT_THAT(scale(7), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_WORKERS"));
  ASSERT_OK(scale(3));
  EXPECT_FALSE(last_.changed);
  ASSERT_OK(scale(1));
  EXPECT_THAT(Commands(), ElementsAre("w2:release", "w1:release", "s0:change_generation", "s1:change_generation"));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {{5, 1}});
  EXPECT_EQ(Told("w0"), "own 0+2, inherits 5+1, then 0+6");
  EXPECT_EQ(JobMachine::WorkersMissing(record_, now_), 0u);
  ASSERT_OK(scale(2));
  EXPECT_EQ(JobMachine::WorkersMissing(record_, now_), 1u);
  Offer(2);
  EXPECT_EQ(JobMachine::WorkersMissing(record_, now_), 0u);
  ASSERT_OK(scale(1));
  EXPECT_THAT(Commands(), ElementsAre("w2:release"));
  EXPECT_EQ(record_.joiners_size(), 0);
  Do([](JobMachine& m) { m.OnCancel(false).IgnoreError(); });
  EXPECT_THAT(scale(2), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_ALREADY_FINISHED"));
}

TEST_F(MembershipTest, AJoinerThatFailsIsLetGoAndTheJobGoesOn) {
  Train();
  Lose(Worker(1));
  for (int i = 0; i < 2; ++i) Adopted(i, 6, {});
  Offer(4);
  Report(Worker(4), [](v1::JobReport& r) { *r.mutable_failed() = ToRpcStatus(absl::NotFoundError("no data here")); });
  EXPECT_EQ(Events("JOIN_FAILED"), 1);
  EXPECT_THAT(Commands(), ElementsAre("w4:release"));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  EXPECT_EQ(JobMachine::WorkersMissing(record_, now_), 0u) << "not at once";
  now_ += absl::Minutes(1);
  EXPECT_EQ(JobMachine::WorkersMissing(record_, now_), 1u);
  Offer(4);
  After(options_.preparing_timeout);
  EXPECT_EQ(Events("JOIN_FAILED"), 2);
}

TEST_F(MembershipTest, LossWhileTheJobPreparesStartsThatAnew) {
  Place();
  for (int i = 0; i < 2; ++i) Prepared(Server(i));
  Prepared(Worker(0));
  Lose(Worker(1));
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_PREPARING_SERVERS);
  EXPECT_EQ(job().generation(), 2u);
  EXPECT_THAT(Commands(), ElementsAre("s0:prepare_server", "s1:prepare_server"));
  for (int i = 0; i < 2; ++i) Prepared(Server(i));
  EXPECT_THAT(Commands(), ElementsAre("w0:prepare_worker", "w2:prepare_worker"));
  EXPECT_EQ(job().placement().workers(1).first_slot(), 3u);
}

TEST_F(MembershipTest, WhatWorkersSayOfThemselvesOutlivesAGeneration) {
  Train();
  Lose(Worker(1));
  FinishedOf(1, 0, 100);  // It has not heard of generation 2.
  for (int i = 0; i < 2; ++i) Adopted(i, 100, {});
  EXPECT_THAT(Commands(), ElementsAre("w2:change_generation", "w2:start"));
  FinishedOf(3, 2, 100);  // Of no generation there is.
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
  FinishedOf(2, 2, 100);
  EXPECT_EQ(job().phase(), v1::JOB_PHASE_SAVING);
}

TEST_F(MembershipTest, AWorkerThatStopsOrWasLeftBehindIsLost) {
  for (const char* reason : {"WORKER_STOPPED", "GENERATION_FENCED"}) {
    SetUp();
    const int worker = reason[0] == 'W' ? 1 : 2;
    if (worker == 1) Train();
    Report(Worker(worker), [&](v1::JobReport& r) {
      *r.mutable_failed() = ToRpcStatus(MakeError(absl::StatusCode::kUnavailable, reason, "x"));
    });
    EXPECT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
    EXPECT_THAT(Commands()[0], absl::StrCat("w", worker, ":release"));
  }
  EXPECT_EQ(Events("WORKER_LOST"), 2);
}

TEST_F(MembershipTest, AGenerationThatServersDoNotAdoptFailsTheJob) {
  Train();
  Lose(Worker(1));
  Adopted(0, 6, {});
  After(absl::Minutes(1));
  EXPECT_EQ(job().reason(), "GENERATION_TIMEOUT");
  EXPECT_THAT(job().message(), HasSubstr("server s1"));
}

TEST_F(MembershipTest, ReconnectedNodesAreToldAgain) {
  Train();
  Lose(Worker(1));
  Adopted(0, 6, {});
  Do([](JobMachine& m) { m.OnReconnected(Server(1), true); });
  EXPECT_THAT(Commands(), ElementsAre("s1:change_generation"));
  Do([](JobMachine& m) { m.OnReconnected(Server(0), true); });
  EXPECT_TRUE(Commands().empty());
  Adopted(1, 6, {});
  Do([](JobMachine& m) { m.OnReconnected(Worker(2), true); });
  EXPECT_THAT(Commands(), ElementsAre("w2:change_generation", "w2:start"));
}

TEST_F(MembershipTest, SlotsFollowSpeedWhenItIsWorthIt) {
  Train();
  const auto speeds = [&](std::vector<double> s) {
    Do([&](JobMachine& m) { m.OnSpeeds(s); });
    return last_.changed;
  };
  record_.mutable_job()->mutable_progress()->set_step(60);
  EXPECT_FALSE(speeds({1, 1, 0})) << "one is not known";
  EXPECT_FALSE(speeds({1, 1.1, 0.9}));
  EXPECT_TRUE(speeds({3, 2, 1}));
  for (int i = 0; i < 2; ++i) Adopted(i, 61, {});
  EXPECT_EQ(Told("w0"), "own 0+2, inherits , then 0+3");
  EXPECT_EQ(Told("w2"), "own 4+2, inherits , then 5+1");
  EXPECT_FALSE(speeds({1, 2, 3})) << "too soon";
  record_.mutable_job()->mutable_progress()->set_step(110);
  EXPECT_TRUE(speeds({1, 2, 3}));
}

}  // namespace
}  // namespace paramd
