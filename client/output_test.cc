#include "client/output.h"

#include <sstream>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "proto/job.pb.h"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

TEST(Table, PadsColumnsButNotTheLast) {
  Table table({"A", "LONG", "C"});
  table.AddRow({"xxx", "1", "y"});
  table.AddRow({"x", "", ""});
  EXPECT_EQ(table.ToString(), "A    LONG  C\nxxx  1     y\nx\n");
}

TEST(Json, OneLineGolden) {
  v1::JobEvent event;
  event.set_sequence(7);
  event.set_reason("STARTED");
  event.set_state(v1::JOB_STATE_RUNNING);
  EXPECT_EQ(
      *ToJson(event, JsonLayout::kOneLine),
      "{\"job_id\":\"\",\"sequence\":\"7\",\"reason\":\"STARTED\",\"message\":\"\",\"state\":\"JOB_STATE_RUNNING\","
      "\"warning\":false}\n");
}

TEST(Json, ErrorDetailsOfAFailedJob) {
  v1::Job job;
  google::rpc::ErrorInfo info;
  info.set_reason("WORKER_LOST");
  job.mutable_error()->add_details()->PackFrom(info);
  EXPECT_THAT(*ToJson(job, JsonLayout::kOneLine), ::testing::HasSubstr("\"reason\":\"WORKER_LOST\""));
}

TEST(Yaml, StringsStayStringsAndListsStayShort) {
  v1::Job job;
  job.set_job_id("true");
  job.set_message("two\nlines: yes");
  job.set_final_weights_sha256("12345");
  job.set_request_id("plain-1");
  job.mutable_spec()->mutable_model()->mutable_mlp()->add_widths(3);
  job.mutable_spec()->mutable_model()->mutable_mlp()->add_widths(4);
  const std::string yaml = *ToYaml(job);
  EXPECT_THAT(yaml, ::testing::HasSubstr("job_id: \"true\"\n"));
  EXPECT_THAT(yaml, ::testing::HasSubstr("final_weights_sha256: \"12345\"\n"));
  EXPECT_THAT(yaml, ::testing::HasSubstr("request_id: plain-1\n"));
  EXPECT_THAT(yaml, ::testing::HasSubstr("widths: [3, 4]\n"));
  EXPECT_EQ(YAML::Load(yaml)["message"].as<std::string>(), "two\nlines: yes");
}

TEST(Write, StreamsAreSeparatedAndTablesRefused) {
  v1::DeleteJobRequest message;
  message.set_job_id("a");
  std::ostringstream out;
  EXPECT_TRUE(WriteStreamMessage(message, OutputFormat::kYaml, out).ok());
  EXPECT_TRUE(WriteStreamMessage(message, OutputFormat::kJson, out).ok());
  EXPECT_EQ(out.str(), "---\njob_id: a\n{\"job_id\":\"a\"}\n");
  EXPECT_EQ(WriteMessage(message, OutputFormat::kTable, out).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(WriteStreamMessage(message, OutputFormat::kTable, out).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace paramd
