// Whole command lines against a fake cluster: output, messages, exit codes.
#include "client/paramctl.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/environment.h"
#include "client/exit_code.h"
#include "client/fake_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

constexpr char kSpec[] =
    "name: tiny\n"
    "model: {mlp: {widths: [4, 3, 2]}}\n"
    "data: {idx: {train_images: a.gz, train_labels: b.gz}}\n"
    "training: {steps: 10}\n"
    "optimizer: {learning_rate: 0.1}\n";

v1::Job MakeJob(const std::string& id, v1::JobState state, uint64_t step = 0) {
  v1::Job job;
  job.set_job_id(id);
  job.set_state(state);
  job.mutable_progress()->set_step(step);
  job.mutable_progress()->set_total_steps(10);
  job.mutable_progress()->set_loss(1.5);
  return job;
}

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

WatchScript EndsAs(v1::JobState state) {
  return {.updates = {JobUpdate(MakeJob("a-1", v1::JOB_STATE_RUNNING, 4)),
                      EventUpdate(1, "SUBMITTED", v1::JOB_STATE_PENDING), EventUpdate(2, "OVER", state),
                      JobUpdate(MakeJob("a-1", state, 10))}};
}

class ParamctlTest : public ::testing::Test {
 protected:
  // Runs against the fake cluster unless the arguments name another coordinator.
  Outcome Run(std::vector<std::string> arguments, const std::string& input = "") {
    if (default_coordinator_) arguments.insert(arguments.begin(), absl::StrCat("--coordinator=", cluster_.address()));
    std::istringstream in(input);
    std::ostringstream out;
    std::ostringstream err;
    RealClock clock;
    Environment environment{.in = in, .out = out, .err = err, .clock = clock, .interrupt = interrupt_};
    environment.variable = [this](const std::string& name) { return variables_[name]; };
    environment.reconnect_for = absl::Seconds(3);
    environment.terminal = terminal_;
    const int code = RunParamctl(arguments, environment);
    return {code, out.str(), err.str()};
  }

  std::string WriteFile(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(::testing::TempDir(), "/", name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }

  FakeCluster cluster_;
  ManualInterrupt interrupt_;
  std::map<std::string, std::string> variables_;
  bool default_coordinator_ = true;
  bool terminal_ = false;
};

v1::ListCheckpointsResponse Checkpoints(const std::vector<std::pair<uint64_t, v1::CheckpointState>>& checkpoints,
                                        const std::string& message = "") {
  v1::ListCheckpointsResponse list;
  for (const auto& [step, state] : checkpoints) {
    v1::Checkpoint& checkpoint = *list.add_checkpoints();
    checkpoint.set_step(step);
    checkpoint.set_state(state);
    checkpoint.set_bytes(2048);
    checkpoint.set_directory(absl::StrCat("/out/a-1/checkpoints/", step));
    checkpoint.set_message(message);
  }
  return list;
}

constexpr v1::CheckpointState kWriting = v1::CHECKPOINT_STATE_WRITING;
constexpr v1::CheckpointState kCommitted = v1::CHECKPOINT_STATE_COMMITTED;

TEST_F(ParamctlTest, CheckpointsAreWaitedFor) {
  cluster_.SetCheckpoints({Checkpoints({{10, kCommitted}, {15, kWriting}}),
                           Checkpoints({{10, kCommitted}, {17, kWriting}}),
                           Checkpoints({{10, kCommitted}, {17, kCommitted}})});
  Outcome created = Run({"checkpoint", "create", "a-1"});
  EXPECT_EQ(created.code, kExitOk) << created.err;
  EXPECT_THAT(created.out, AllOf(HasSubstr("17    COMMITTED  2.0 KiB"), HasSubstr("/out/a-1/checkpoints/17")));
  cluster_.SetCheckpoints({Checkpoints({{17, v1::CHECKPOINT_STATE_FAILED}}, "disk full")});
  created = Run({"checkpoint", "create", "a-1"});
  EXPECT_EQ(created.code, kExitUnavailable);
  EXPECT_THAT(created.err, HasSubstr("disk full"));
  created = Run({"checkpoint", "create", "a-1", "--no-wait"});
  EXPECT_EQ(created.code, kExitOk);
  EXPECT_THAT(created.out, HasSubstr("15    WRITING"));
  cluster_.SetCheckpoints({Checkpoints({{15, kWriting}})});
  created = Run({"checkpoint", "create", "a-1", "--timeout", "10ms"});
  EXPECT_EQ(created.code, kExitUnavailable);
  EXPECT_EQ(Run({"checkpoint", "list", "a-1"}).out.substr(0, 4), "STEP");
}

TEST_F(ParamctlTest, CheckpointsAreVerifiedAndDeleted) {
  cluster_.SetCheckpoints({Checkpoints({{20, v1::CHECKPOINT_STATE_VERIFYING}}), Checkpoints({{20, kCommitted}})});
  EXPECT_EQ(Run({"checkpoint", "verify", "a-1"}).code, kExitOk);
  cluster_.SetCheckpoints({Checkpoints({{20, v1::CHECKPOINT_STATE_CORRUPT}}, "chunk 3")});
  const Outcome corrupt = Run({"checkpoint", "verify", "a-1", "20"});
  EXPECT_EQ(corrupt.code, kExitError);
  EXPECT_THAT(corrupt.err, HasSubstr("chunk 3"));
  cluster_.SetCheckpoints({Checkpoints({{20, v1::CHECKPOINT_STATE_DELETING}}), Checkpoints({})});
  EXPECT_EQ(Run({"checkpoint", "delete", "a-1", "20", "--force"}).code, kExitOk);
  EXPECT_EQ(Run({"checkpoint", "delete", "a-1"}).code, kExitUsage);
  EXPECT_EQ(Run({"checkpoint", "verify", "a-1", "0"}).code, kExitUsage);
  EXPECT_EQ(Run({"checkpoint"}).code, kExitUsage);
  EXPECT_THAT(cluster_.checkpoint_calls(), ElementsAre("verify 0", "verify 20", "delete 20 force"));
}

TEST_F(ParamctlTest, PauseResumeAndRestore) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_PAUSED));
  EXPECT_EQ(Run({"pause", "a-1"}).out, "job a-1 PAUSED (UNSPECIFIED)\n");
  EXPECT_EQ(Run({"resume", "a-1"}).code, kExitOk);
  EXPECT_EQ(Run({"checkpoint", "restore", "a-1", "20"}).code, kExitOk);
  EXPECT_EQ(Run({"resume", "b-2"}).code, kExitNotFound);
  EXPECT_THAT(cluster_.checkpoint_calls(), ElementsAre("pause", "resume 0", "resume 20", "resume 0"));
  EXPECT_EQ(Run({"submit", "-f", "-", "--restore-from", "/out/a-1"}, kSpec).code, kExitOk);
  EXPECT_EQ(cluster_.last_submit().restore_from(), "/out/a-1");
}

TEST_F(ParamctlTest, UsageErrorsAreCode2WithASuggestion) {
  struct Case {
    std::vector<std::string> arguments;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{"sumbit", "-f", "x"}, "unknown verb \"sumbit\"; did you mean \"submit\"?"},
      {{"list", "--sate", "running"}, "unknown flag \"--sate\"; did you mean \"--state\"?"},
      {{"list", "--cordinator=x"}, "did you mean \"--coordinator\"?"},
      {{"get", "a-1", "b-2"}, "unknown argument \"b-2\""},
      {{"get"}, "JOB is required"},
      {{}, "subcommand is required"},
      {{"list", "-o", "xml"}, "--output: must be table, json or yaml, got \"xml\""},
      {{"list", "--state", "done"}, "--state: must be pending"},
      {{"list", "--request-timeout", "-3"}, "--request-timeout: must be a duration above 0"},
      {{"wait", "a-1", "--for", "phase=X"}, "--for: must be state=STATE"},
      {{"wait", "a-1", "--timeout", "soon"}, "--timeout: must be a duration"},
      {{"submit", "-f", "/does/not/exist.yaml"}, "cannot read /does/not/exist.yaml"},
      {{"submit", "-f", "-", "--set", "steps"}, "--set steps: must be path=value"},
      {{"generate", "a-1", "--tokens", "0"}, "--tokens"},
      {{"trace", "a-1", "--steps", "0"}, "--steps"},
      {{"trace", "a-1", "--steps", "101"}, "--steps"},
      {{"trace", "a-1", "--steps", "many"}, "--steps"},
      {{"trace", "a-1", "--timeout", "0s"}, "--timeout: must be a duration above 0"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.message);
    const Outcome outcome = Run(test.arguments, kSpec);
    EXPECT_EQ(outcome.code, kExitUsage);
    EXPECT_THAT(outcome.err, HasSubstr(test.message));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(ParamctlTest, HelpIsCode0AndListsTheVerbs) {
  const Outcome outcome = Run({"--help"});
  EXPECT_EQ(outcome.code, kExitOk);
  EXPECT_EQ(outcome.err, "");
  for (const char* verb : {"submit", "get", "list", "describe", "watch", "events", "cancel", "delete", "nodes",
                           "generate", "trace", "wait", "version"}) {
    EXPECT_THAT(outcome.out, HasSubstr(verb));
  }
}

TEST_F(ParamctlTest, CoordinatorDownIsCode5AtOnceForEveryVerb) {
  default_coordinator_ = false;
  variables_["PARAMCTL_COORDINATOR"] = "127.0.0.1:1";
  const std::vector<std::vector<std::string>> lines = {
      {"get", "a-1"},        {"list"},          {"describe", "a-1"}, {"watch", "a-1"}, {"events", "a-1"},
      {"cancel", "a-1"},     {"delete", "a-1"}, {"nodes"},           {"wait", "a-1"},  {"generate", "a-1"},
      {"submit", "-f", "-"}, {"version"},       {"trace", "a-1"}};
  for (const auto& line : lines) {
    SCOPED_TRACE(line.front());
    const absl::Time start = absl::Now();
    const Outcome outcome = Run(line, kSpec);
    EXPECT_EQ(outcome.code, kExitUnavailable);
    EXPECT_THAT(outcome.err, HasSubstr("cannot reach the coordinator at 127.0.0.1:1: "));
    EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  }
}

TEST_F(ParamctlTest, StatusCodesOfTheCoordinatorBecomeExitCodes) {
  const std::vector<std::pair<grpc::StatusCode, int>> cases = {{grpc::StatusCode::INVALID_ARGUMENT, kExitUsage},
                                                               {grpc::StatusCode::NOT_FOUND, kExitNotFound},
                                                               {grpc::StatusCode::PERMISSION_DENIED, kExitPermission},
                                                               {grpc::StatusCode::UNAUTHENTICATED, kExitPermission},
                                                               {grpc::StatusCode::UNAVAILABLE, kExitUnavailable},
                                                               {grpc::StatusCode::DEADLINE_EXCEEDED, kExitUnavailable},
                                                               {grpc::StatusCode::FAILED_PRECONDITION, kExitConflict},
                                                               {grpc::StatusCode::ALREADY_EXISTS, kExitConflict},
                                                               {grpc::StatusCode::INTERNAL, kExitError}};
  for (const auto& [code, exit_code] : cases) {
    cluster_.FailWith({code, "as the test says"});
    const Outcome outcome = Run({"get", "a-1"});
    EXPECT_EQ(outcome.code, exit_code) << code;
    EXPECT_THAT(outcome.err, HasSubstr("error: "));
  }
}

TEST_F(ParamctlTest, CoordinatorComesFromFlagThenVariableThenFile) {
  default_coordinator_ = false;
  const std::string config = WriteFile("xdg/paramctl/config.yaml", "coordinator: 127.0.0.1:1\n");
  variables_["XDG_CONFIG_HOME"] = absl::StrCat(::testing::TempDir(), "/xdg");
  EXPECT_THAT(Run({"nodes"}).err, HasSubstr("at 127.0.0.1:1:"));
  variables_["PARAMCTL_COORDINATOR"] = "127.0.0.1:2";
  EXPECT_THAT(Run({"nodes"}).err, HasSubstr("at 127.0.0.1:2:"));
  EXPECT_EQ(Run({"nodes", "--coordinator", cluster_.address()}).code, kExitOk);
  variables_["PARAMCTL_COORDINATOR"] = "";
  for (const char* bad : {"cordinator: x\n", "[1, 2]\n", "a: b: c\n", "coordinator: [1]\n"}) {
    WriteFile("xdg/paramctl/config.yaml", bad);
    const Outcome outcome = Run({"nodes"});
    EXPECT_EQ(outcome.code, kExitUsage) << bad;
    EXPECT_THAT(outcome.err, HasSubstr(config));
  }
}

TEST_F(ParamctlTest, TlsFilesComeFromFlagThenFile) {
  WriteFile("xdg/paramctl/config.yaml", "tls-ca: /no/such/ca.pem\n");
  variables_["XDG_CONFIG_HOME"] = absl::StrCat(::testing::TempDir(), "/xdg");
  Outcome outcome = Run({"nodes"});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, HasSubstr("--tls-ca: cannot open /no/such/ca.pem"));
  outcome = Run({"nodes", "--tls-ca", "/no/such/other.pem"});
  EXPECT_THAT(outcome.err, HasSubstr("/no/such/other.pem"));
  outcome = Run({"nodes", "--tls-cert", "/no/such/me.pem"});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, HasSubstr("--tls-key: missing"));
  WriteFile("xdg/paramctl/config.yaml", "");
  EXPECT_EQ(Run({"nodes"}).code, kExitOk);
}

TEST_F(ParamctlTest, SubmitSendsTheSpecificationWithOverrides) {
  cluster_.SetJob(MakeJob("tiny-1", v1::JOB_STATE_PENDING));
  const Outcome outcome = Run({"submit", "-f", "-", "--set", "training.steps=20", "--set", "model.mlp.widths.1=7",
                               "--request-id", "r1", "--job-id", "tiny-1"},
                              kSpec);
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  EXPECT_EQ(outcome.out, "job tiny-1 submitted\n");
  EXPECT_THAT(outcome.err, HasSubstr("paramctl watch tiny-1"));
  const v1::SubmitJobRequest request = cluster_.last_submit();
  EXPECT_EQ(request.spec().training().steps(), 20);
  EXPECT_THAT(request.spec().model().mlp().widths(), ElementsAre(4, 7, 2));
  EXPECT_EQ(request.request_id(), "r1");
  EXPECT_EQ(request.job_id(), "tiny-1");
  EXPECT_FALSE(request.validate_only());
}

TEST_F(ParamctlTest, SubmitRefusesABadSpecificationBeforeSending) {
  const std::string path = WriteFile("bad.yaml", absl::StrCat(kSpec, "optimiser: {}\n"));
  const Outcome outcome = Run({"submit", "-f", path});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(path), HasSubstr("optimiser")));
  EXPECT_EQ(cluster_.last_submit().ByteSizeLong(), 0);
}

TEST_F(ParamctlTest, ValidateOnlyPrintsTheSpecification) {
  v1::Job job = MakeJob("", v1::JOB_STATE_UNSPECIFIED);
  job.set_parameters(23);
  cluster_.SetJob(job);
  const Outcome outcome = Run({"submit", "-f", "-", "--validate-only"}, kSpec);
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("valid: 23 parameters"), HasSubstr("name: tiny")));
  EXPECT_TRUE(cluster_.last_submit().validate_only());
  EXPECT_EQ(Run({"submit", "-f", "-", "--validate-only", "--watch"}, kSpec).code, kExitUsage);
}

TEST_F(ParamctlTest, GetAsJsonUsesTheFieldNamesOfTheProto) {
  v1::Job job = MakeJob("a-1", v1::JOB_STATE_SUCCEEDED, 10);
  job.set_final_weights_sha256("00ff");
  job.mutable_progress()->set_validation_loss(1.25);
  cluster_.SetJob(job);
  const Outcome outcome = Run({"get", "a-1", "-o", "json"});
  ASSERT_EQ(outcome.code, kExitOk);
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["job_id"], "a-1");
  EXPECT_EQ(json["state"], "JOB_STATE_SUCCEEDED");
  EXPECT_EQ(json["final_weights_sha256"], "00ff");
  EXPECT_EQ(json["progress"]["total_steps"], "10");
  EXPECT_EQ(json["progress"]["validation_loss"], 1.25);
  EXPECT_EQ(json["output_directory"], "") << "fields at their default are there for scripts";
  EXPECT_THAT(Run({"get", "a-1", "-o", "yaml"}).out, HasSubstr("state: JOB_STATE_SUCCEEDED\n"));
}

TEST_F(ParamctlTest, ListReadsAllPagesAndFilters) {
  cluster_.SetPageSize(2);
  for (int i = 0; i < 5; ++i) {
    cluster_.SetJob(MakeJob(absl::StrCat("job-", i), i == 3 ? v1::JOB_STATE_FAILED : v1::JOB_STATE_RUNNING));
  }
  const Outcome all = Run({"list"});
  EXPECT_EQ(all.code, kExitOk);
  for (int i = 0; i < 5; ++i) EXPECT_THAT(all.out, HasSubstr(absl::StrCat("job-", i)));
  const Outcome failed = Run({"list", "--state=failed", "-o", "json"});
  EXPECT_EQ(nlohmann::json::parse(failed.out)["jobs"].size(), 1);
}

TEST_F(ParamctlTest, WatchEndsWithTheCodeOfTheJob) {
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

TEST_F(ParamctlTest, SubmitWatchPrintsOneJsonObjectPerLine) {
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

TEST_F(ParamctlTest, WatchResumesAfterTheLastEventWhenTheStreamBreaks) {
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

TEST_F(ParamctlTest, FirstInterruptDetachesWithAHint) {
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

TEST_F(ParamctlTest, WaitKnowsReachedMissedAndTimedOut) {
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

TEST_F(ParamctlTest, EventsStopAtTheLastOneOfARunningJob) {
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

TEST_F(ParamctlTest, CancelDeleteAndMissingJobs) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_CANCELLED));
  EXPECT_THAT(Run({"cancel", "a-1", "--save"}).out, HasSubstr("job a-1 CANCELLED"));
  EXPECT_TRUE(cluster_.last_cancel().save());
  EXPECT_EQ(Run({"delete", "a-1"}).code, kExitOk);
  for (const char* verb : {"get", "describe", "watch", "events", "cancel", "delete", "wait", "generate", "trace"}) {
    const Outcome outcome = Run({verb, "a-1"});
    EXPECT_EQ(outcome.code, kExitNotFound) << verb;
    EXPECT_THAT(outcome.err, HasSubstr("job a-1 not found"));
  }
}

TEST_F(ParamctlTest, GenerateAsksAReadyWorkerAndSkipsDeadOnes) {
  v1::Job job = MakeJob("a-1", v1::JOB_STATE_RUNNING);
  cluster_.SetJob(job);
  EXPECT_EQ(Run({"generate", "a-1"}).code, kExitConflict) << "nothing saved yet";
  job.set_output_directory("/out/a-1");
  cluster_.SetJob(job);
  EXPECT_EQ(Run({"generate", "a-1"}).code, kExitUnavailable) << "no worker";
  v1::Node worker;
  worker.set_role(v1::NODE_ROLE_WORKER);
  worker.set_state(v1::NODE_STATE_READY);
  worker.set_node_id("dead");
  worker.set_address("127.0.0.1:1");
  cluster_.AddNode(worker);
  worker.set_node_id("alive");
  worker.set_address(cluster_.address());
  cluster_.AddNode(worker);
  const Outcome outcome = Run({"generate", "a-1", "--prompt", "Emma", "--tokens=7", "--temperature=0", "--top-k=3",
                               "--seed=18446744073709551615"});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  EXPECT_EQ(outcome.out, "She was happy.\n");
  const v1::GenerateRequest request = cluster_.last_generate();
  EXPECT_EQ(request.model_directory(), "/out/a-1");
  EXPECT_EQ(request.prompt(), "Emma");
  EXPECT_EQ(request.max_tokens(), 7);
  EXPECT_EQ(request.temperature(), 0);
  EXPECT_EQ(request.top_k(), 3);
  EXPECT_EQ(request.seed(), UINT64_MAX);
}

TEST_F(ParamctlTest, TraceWritesWhatTraceViewersLoad) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  v1::TraceJobResponse trace;
  for (uint64_t step : {5, 6}) {
    v1::TraceSpan& span = *trace.add_spans();
    span.set_node_id("worker-0");
    span.set_lane("compute");
    span.set_name("forward");
    span.set_start_us(static_cast<int64_t>(1000 * step));
    span.set_duration_us(900);
    span.set_step(step);
  }
  cluster_.SetTrace(trace);
  const Outcome outcome = Run({"trace", "a-1", "--steps", "2", "--timeout=90s", "--request-timeout=3s"});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["traceEvents"].back()["ts"], 1000);
  EXPECT_EQ(json["traceEvents"].back()["args"]["step"], 6);
  EXPECT_THAT(outcome.err, HasSubstr("2 spans of 1 nodes, steps 5 to 6; look at them at https://ui.perfetto.dev"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("truncated")));
  EXPECT_EQ(cluster_.last_trace().job_id(), "a-1");
  EXPECT_EQ(cluster_.last_trace().steps(), 2u);
  EXPECT_GT(cluster_.last_trace_timeout(), absl::Seconds(60)) << "its own timeout, not that of requests";
  EXPECT_EQ(nlohmann::json::parse(Run({"trace", "a-1", "-o", "json"}).out)["spans"][1]["step"], "6");

  trace.set_truncated(true);
  cluster_.SetTrace(trace);
  const Outcome truncated = Run({"trace", "a-1"});
  EXPECT_EQ(truncated.code, kExitOk);
  EXPECT_EQ(nlohmann::json::parse(truncated.out)["otherData"]["truncated"], true);
  EXPECT_THAT(truncated.err, HasSubstr("warning: the trace is truncated"));
}

TEST_F(ParamctlTest, TraceRefusesATerminalAndTellsWhyThereIsNone) {
  terminal_ = true;
  const Outcome to_terminal = Run({"trace", "a-1", "--steps", "4"});
  EXPECT_EQ(to_terminal.code, kExitUsage);
  EXPECT_EQ(to_terminal.out, "");
  EXPECT_THAT(to_terminal.err, HasSubstr("paramctl trace a-1 --steps 4 > trace.json"));
  terminal_ = false;
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
  EXPECT_EQ(Run({"trace", "a-1"}).code, kExitError) << "no spans";
  const std::vector<std::pair<grpc::StatusCode, int>> cases = {{grpc::StatusCode::FAILED_PRECONDITION, kExitConflict},
                                                               {grpc::StatusCode::DEADLINE_EXCEEDED, kExitUnavailable},
                                                               {grpc::StatusCode::UNIMPLEMENTED, kExitError}};
  for (const auto& [code, exit_code] : cases) {
    cluster_.FailWith({code, "no step was recorded"});
    const Outcome outcome = Run({"trace", "a-1"});
    EXPECT_EQ(outcome.code, exit_code) << code;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr("no step was recorded"));
  }
}

TEST_F(ParamctlTest, NodesAndVersion) {
  v1::Node node;
  node.set_node_id("server-1");
  node.set_role(v1::NODE_ROLE_SERVER);
  node.set_state(v1::NODE_STATE_LOST);
  node.set_memory_limit_bytes(3 << 20);
  cluster_.AddNode(node);
  EXPECT_THAT(Run({"nodes"}).out, AllOf(HasSubstr("server-1"), HasSubstr("LOST"), HasSubstr("0 B of 3.0 MiB")));
  EXPECT_EQ(nlohmann::json::parse(Run({"nodes", "-o", "json"}).out)["nodes"][0]["node_id"], "server-1");
  EXPECT_THAT(Run({"version"}).out, AllOf(HasSubstr("paramctl "), HasSubstr("coordinator fake-1")));
}

}  // namespace
}  // namespace paramd
