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
  job->Observe(report, {.pushed_bytes = 100, .pulled_bytes = 10, .retries = 1});
  report.non_finite_loss = true;
  job->Observe(report, {.pushed_bytes = 250, .pulled_bytes = 30, .retries = 1, .reconnections = 2});
  const std::string text = Text(registry);
  EXPECT_THAT(text, HasSubstr("paramd_worker_steps_total{train_job=\"job-1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_samples_total{train_job=\"job-1\"} 16\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_tokens_total{train_job=\"job-1\"} 2048\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_loss{train_job=\"job-1\"} 2.5\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_push_bytes_total{train_job=\"job-1\"} 250\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_pull_bytes_total{train_job=\"job-1\"} 30\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_request_retries_total{train_job=\"job-1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_reconnections_total{train_job=\"job-1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_nonfinite_total{train_job=\"job-1\",where=\"loss\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("paramd_worker_nonfinite_total{train_job=\"job-1\",where=\"grad\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("_seconds_count{device=\"cpu\",phase=\"pull\",train_job=\"job-1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("_seconds_sum{device=\"cpu\",phase=\"pull\",train_job=\"job-1\"} 0.006\n"));
}

TEST(WorkerMetricsTest, SeriesEndWithTheJob) {
  prometheus::Registry registry;
  WorkerMetrics metrics(registry, "cpu");
  metrics.SetJobs(1);
  auto one = metrics.ForJob("job-1");
  auto two = metrics.ForJob("job-2");
  one.reset();
  EXPECT_THAT(Text(registry), Not(HasSubstr("job-1")));
  EXPECT_THAT(Text(registry), HasSubstr("job-2"));
  two.reset();
  EXPECT_THAT(Text(registry), Not(HasSubstr("train_job")));
  EXPECT_THAT(Text(registry), HasSubstr("paramd_worker_jobs 1\n"));
}

}  // namespace
}  // namespace paramd
