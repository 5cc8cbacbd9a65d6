// Whole command lines against a fake cluster: output, messages, exit codes.
#include "client/paramctl.h"

#include <cstdint>
#include <string>
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

class ParamctlTest : public ParamctlFixture {};

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
