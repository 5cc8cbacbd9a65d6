// Command lines that follow a job, against a fake cluster: updates, broken streams, ^C, how they end.
#include <cstdint>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/exit_code.h"
#include "client/paramctl_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::WatchJobResponse JobUpdate(const v1::Job& job) {
  v1::WatchJobResponse update;
  *update.mutable_job() = job;
  return update;
}

v1::WatchJobResponse EventUpdate(uint64_t sequence, const std::string& reason, v1::JobState state) {
  v1::WatchJobResponse update;
  update.mutable_event()->set_job_id("a-1");
  update.mutable_event()->set_sequence(sequence);
  update.mutable_event()->set_reason(reason);
  update.mutable_event()->set_state(state);
  return update;
}

class ParamctlWatchTest : public ParamctlFixture {
 protected:
  static WatchScript EndsAs(v1::JobState state) {
    return {.updates = {JobUpdate(MakeJob("a-1", v1::JOB_STATE_RUNNING, 4)),
                        EventUpdate(1, "SUBMITTED", v1::JOB_STATE_PENDING), EventUpdate(2, "OVER", state),
                        JobUpdate(MakeJob("a-1", state, 10))}};
  }
};

TEST_F(ParamctlWatchTest, WatchEndsWithTheCodeOfTheJob) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  for (const auto& [state, code] :
       std::vector<std::pair<v1::JobState, int>>{{v1::JOB_STATE_SUCCEEDED, kExitOk},
                                                 {v1::JOB_STATE_FAILED, kExitJobFailed},
                                                 {v1::JOB_STATE_CANCELLED, kExitJobCancelled}}) {
    cluster_.AddWatchScript(EndsAs(state));
    const Outcome outcome = Run({"watch", "a-1"});
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("SUBMITTED"), HasSubstr("step 4/10  loss 1.5000"), HasSubstr("job a-1 ")));
    EXPECT_THAT(outcome.out, Not(HasSubstr("\r"))) << "no redrawing in a pipe";
  }
}

TEST_F(ParamctlWatchTest, SubmitWatchPrintsOneJsonObjectPerLine) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  cluster_.AddWatchScript(EndsAs(v1::JOB_STATE_FAILED));
  const Outcome outcome = Run({"submit", "-f", "-", "--watch", "-o", "json"}, kSpec);
  EXPECT_EQ(outcome.code, kExitJobFailed);
  std::istringstream lines(outcome.out);
  std::vector<std::string> kinds;
  for (std::string line; std::getline(lines, line);)
    kinds.push_back(nlohmann::json::parse(line).contains("job") ? "job" : "event");
  EXPECT_THAT(kinds, ElementsAre("job", "event", "event", "job"));
}

TEST_F(ParamctlWatchTest, WatchResumesAfterTheLastEventWhenTheStreamBreaks) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  cluster_.AddWatchScript({.updates = {EventUpdate(1, "SUBMITTED", v1::JOB_STATE_PENDING),
                                       EventUpdate(2, "STARTED", v1::JOB_STATE_RUNNING)},
                           .end = {grpc::StatusCode::UNAVAILABLE, "going down"}});
  cluster_.AddWatchScript({.updates = {EventUpdate(3, "OVER", v1::JOB_STATE_SUCCEEDED),
                                       JobUpdate(MakeJob("a-1", v1::JOB_STATE_SUCCEEDED, 10))}});
  const Outcome outcome = Run({"watch", "a-1"});
  EXPECT_EQ(outcome.code, kExitOk);
  EXPECT_THAT(cluster_.watch_sequences(), ElementsAre(0, 2));
  EXPECT_THAT(outcome.err, HasSubstr("lost the coordinator"));
}

TEST_F(ParamctlWatchTest, FirstInterruptDetachesWithAHint) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  cluster_.AddWatchScript({.updates = {EventUpdate(1, "STARTED", v1::JOB_STATE_RUNNING)}, .end = {}, .hang = true});
  std::thread presser([this] {
    while (cluster_.watch_sequences().empty()) absl::SleepFor(absl::Milliseconds(5));
    EXPECT_TRUE(interrupt_.Raise());
  });
  const Outcome outcome = Run({"watch", "a-1"});
  presser.join();
  EXPECT_EQ(outcome.code, kExitInterrupted);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("detached"), HasSubstr("paramctl cancel a-1")));
}

TEST_F(ParamctlWatchTest, WaitKnowsReachedMissedAndTimedOut) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  const auto wait = [this](v1::JobState end, const std::string& wanted) {
    cluster_.AddWatchScript(EndsAs(end));
    return Run({"wait", "a-1", absl::StrCat("--for=state=", wanted)}).code;
  };
  EXPECT_EQ(wait(v1::JOB_STATE_SUCCEEDED, "SUCCEEDED"), kExitOk);
  EXPECT_EQ(wait(v1::JOB_STATE_FAILED, "failed"), kExitOk);
  EXPECT_EQ(wait(v1::JOB_STATE_SUCCEEDED, "RUNNING"), kExitOk);
  EXPECT_EQ(wait(v1::JOB_STATE_FAILED, "SUCCEEDED"), kExitJobFailed);
  EXPECT_EQ(wait(v1::JOB_STATE_CANCELLED, "SUCCEEDED"), kExitJobCancelled);
  EXPECT_EQ(wait(v1::JOB_STATE_SUCCEEDED, "FAILED"), kExitConflict);
  cluster_.AddWatchScript({.updates = {JobUpdate(MakeJob("a-1", v1::JOB_STATE_RUNNING))}, .end = {}, .hang = true});
  const Outcome late = Run({"wait", "a-1", "--timeout", "200ms"});
  EXPECT_EQ(late.code, kExitTimeout);
  EXPECT_THAT(late.err, HasSubstr("did not reach SUCCEEDED within 200ms"));
}

TEST_F(ParamctlWatchTest, EventsStopAtTheLastOneOfARunningJob) {
  v1::Job job = MakeJob("a-1", v1::JOB_STATE_RUNNING);
  job.set_last_event_sequence(2);
  cluster_.SetJob(job);
  const WatchScript script = {.updates = {JobUpdate(job), EventUpdate(1, "SUBMITTED", v1::JOB_STATE_PENDING),
                                          EventUpdate(2, "STARTED", v1::JOB_STATE_RUNNING)},
                              .end = {},
                              .hang = true};
  cluster_.AddWatchScript(script);
  const Outcome events = Run({"events", "a-1"});
  EXPECT_EQ(events.code, kExitOk);
  EXPECT_THAT(events.out, AllOf(HasSubstr("SUBMITTED"), HasSubstr("STARTED")));
  cluster_.AddWatchScript(script);
  const Outcome description = Run({"describe", "a-1"});
  EXPECT_EQ(description.code, kExitOk);
  EXPECT_GT(description.out.find("STARTED"), description.out.find("Events:")) << "events come last";
}

}  // namespace
}  // namespace paramd
