#include "worker/train/worker_metrics.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"

namespace paramd {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Text(const prometheus::Registry& registry) {
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

TEST(WorkerMetricsTest, CountsStepsAndTakesDifferencesOfTotals) {
  prometheus::Registry registry;
  WorkerMetrics metrics(registry, "cpu");
  auto job = metrics.ForJob("job-1");
  StepReport report;
  report.loss = 2.5;
  report.samples = 8;
  report.tokens = 1024;
  report.pull = absl::Milliseconds(3);
  ParameterClientStats stats;
  stats.retries = 1;
  stats.pushed[v1::CODEC_TOPK] = {.wire_bytes = 100, .raw_bytes = 5000};
  stats.pulled[v1::CODEC_FP32] = {.wire_bytes = 10, .raw_bytes = 10};
  stats.in_flight_bytes = 100;
  stats.streams[static_cast<int>(StreamTransport::kUnix)] = 1;
  job->Observe(report, stats);
  report.non_finite_loss = true;
  stats.reconnections = 2;
  stats.shared_memory_refusals = 1;
  stats.pushed[v1::CODEC_TOPK] = {.wire_bytes = 250, .raw_bytes = 12500};
  stats.pulled[v1::CODEC_BF16] = {.wire_bytes = 30, .raw_bytes = 60};
  stats.in_flight_bytes = 40;
  job->Observe(report, stats);
  const std::string text = Text(registry);
  EXPECT_THAT(text, HasSubstr("paramd_worker_steps_total{train_job=\"job-1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_samples_total{train_job=\"job-1\"} 16\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_tokens_total{train_job=\"job-1\"} 2048\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_loss{train_job=\"job-1\"} 2.5\n"));
  const auto bytes = [](const std::string& direction, const std::string& codec, const std::string& stage) {
    return "paramd_worker_" + direction + "_bytes_total{codec=\"" + codec + "\",stage=\"" + stage +
           "\",train_job=\"job-1\"} ";
  };
  EXPECT_THAT(text, HasSubstr(bytes("push", "topk", "wire") + "250\n"));
  EXPECT_THAT(text, HasSubstr(bytes("push", "topk", "raw") + "12500\n"));
  EXPECT_THAT(text, HasSubstr(bytes("pull", "fp32", "wire") + "10\n"));
  EXPECT_THAT(text, HasSubstr(bytes("pull", "bf16", "raw") + "60\n"));
  EXPECT_THAT(text, Not(HasSubstr(bytes("push", "fp32", "wire"))));  // Never used.
  EXPECT_THAT(text, HasSubstr("paramd_worker_in_flight_bytes{train_job=\"job-1\"} 40\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_streams{train_job=\"job-1\",transport=\"unix\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_streams{train_job=\"job-1\",transport=\"shared_memory\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_shared_memory_refusals_total{train_job=\"job-1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_request_retries_total{train_job=\"job-1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_reconnections_total{train_job=\"job-1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_nonfinite_total{train_job=\"job-1\",where=\"loss\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_nonfinite_total{train_job=\"job-1\",where=\"grad\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("_seconds_count{device=\"cpu\",phase=\"pull\",train_job=\"job-1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("_seconds_sum{device=\"cpu\",phase=\"pull\",train_job=\"job-1\"} 0.006\n"));
}

TEST(WorkerMetricsTest, CountsLingerWhenTheJobHasEnded) {
  prometheus::Registry registry;
  WorkerMetrics metrics(registry, "cpu");
  metrics.SetJobs(1);
  auto one = metrics.ForJob("job-1");
  auto two = metrics.ForJob("job-2");
  ParameterClientStats stats;
  stats.pushed[v1::CODEC_FP32] = stats.pulled[v1::CODEC_FP32] = {.wire_bytes = 1, .raw_bytes = 1};
  one->Observe({}, stats);
  two->Observe({}, stats);
  one.reset();
  EXPECT_THAT(Text(registry), HasSubstr("paramd_worker_steps_total{train_job=\"job-1\"} 1\n"));
  EXPECT_THAT(Text(registry), Not(HasSubstr("paramd_worker_in_flight_bytes{train_job=\"job-1\"}")));
  metrics.series().Expire(absl::Now() + kSeriesLinger);
  EXPECT_THAT(Text(registry), Not(HasSubstr("job-1")));
  EXPECT_THAT(Text(registry), HasSubstr("job-2"));
  two.reset();
  metrics.series().Expire(absl::Now() + kSeriesLinger);
  EXPECT_THAT(Text(registry), Not(HasSubstr("train_job")));
  EXPECT_THAT(Text(registry), HasSubstr("paramd_worker_jobs 1\n"));
}

}  // namespace
}  // namespace paramd
