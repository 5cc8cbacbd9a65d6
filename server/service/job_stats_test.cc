#include "server/service/job_stats.h"

#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

// Counters, gauges and the counts of histograms as "name label...", the labels' values in the order of their names.
std::map<std::string, double> Values(prometheus::Registry& registry) {
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : registry.Collect()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      std::string name = family.name;
      for (const prometheus::ClientMetric::Label& label : metric.label) absl::StrAppend(&name, " ", label.value);
      values[name] = metric.counter.value + metric.gauge.value + static_cast<double>(metric.histogram.sample_count);
    }
  }
  return values;
}

TEST(JobStatsTest, AppearsInTheMetricsWhenFlushedAndOnce) {
  auto registry = std::make_shared<prometheus::Registry>();
  ServerMetrics server(registry, 1);
  ASSERT_OK_AND_ASSIGN(const auto plan, JobPlan::Create(TestAssignment(), 0));
  JobMetrics metrics(server, *plan);
  JobStats stats;
  for (int i = 0; i < 3; ++i) {
    stats.CountPush(v1::CODEC_INT8, Transport::kTcp, {.wire_bytes = 10, .raw_bytes = 40}, absl::Milliseconds(1));
  }
  stats.CountPush(v1::CODEC_FP32, Transport::kSharedMemory, {.wire_bytes = 8, .raw_bytes = 8}, absl::Milliseconds(1));
  stats.CountPull(v1::CODEC_BF16, Transport::kUnix, {.wire_bytes = 2, .raw_bytes = 4}, absl::Milliseconds(1));
  stats.CountDuplicate();
  stats.CountNonFinite();
  stats.CountUpdate();
  stats.CountUpdate();
  stats.CountApply(absl::Milliseconds(2));
  stats.CountStaleness(3);
  stats.SetGlobalStep(17);
  const std::map<std::string, double> before = Values(*registry);
  EXPECT_EQ(before.count("paramd_push_duration_seconds int8 job-1"), 0u) << "no series of codecs that do not occur";
  EXPECT_EQ(before.at("paramd_updates_applied_total sgd job-1"), 0);
  for (int flush : {1, 2}) {
    SCOPED_TRACE(flush);
    stats.Flush(metrics);
    const std::map<std::string, double> values = Values(*registry);
    const std::pair<const char*, double> expected[] = {
        {"paramd_push_duration_seconds int8 job-1", 3},
        {"paramd_push_bytes_total int8 wire job-1 tcp", 30},
        {"paramd_push_bytes_total int8 raw job-1 tcp", 120},
        {"paramd_push_bytes_total fp32 raw job-1 shared_memory", 8},
        {"paramd_pull_duration_seconds bf16 job-1", 1},
        {"paramd_pull_bytes_total bf16 wire job-1 unix", 2},
        {"paramd_pull_bytes_total bf16 raw job-1 unix", 4},
        {"paramd_gradients_dropped_total duplicate job-1", 1},
        {"paramd_gradients_dropped_total nonfinite job-1", 1},
        {"paramd_updates_applied_total sgd job-1", 2},
        {"paramd_update_apply_duration_seconds sgd", 1},
        {"paramd_gradient_staleness_steps job-1", 1},
        {"paramd_global_step job-1", 17},
    };
    for (const auto& [name, value] : expected) {
      ASSERT_EQ(values.count(name), 1u) << name;
      EXPECT_EQ(values.at(name), value) << name;
    }
  }
}

TEST(JobStatsTest, CountsLingerWhenTheJobIsGone) {
  auto registry = std::make_shared<prometheus::Registry>();
  ServerMetrics server(registry, 1);
  ASSERT_OK_AND_ASSIGN(const auto plan, JobPlan::Create(TestAssignment(), 0));
  {
    JobMetrics metrics(server, *plan);
    JobStats stats;
    stats.CountPush(v1::CODEC_FP32, Transport::kTcp, {.wire_bytes = 4, .raw_bytes = 4}, absl::Milliseconds(1));
    stats.CountPull(v1::CODEC_FP32, Transport::kTcp, {.wire_bytes = 4, .raw_bytes = 4}, absl::Milliseconds(1));
    stats.Flush(metrics);
    EXPECT_EQ(Values(*registry).count("paramd_pull_bytes_total fp32 wire job-1 tcp"), 1u);
  }
  EXPECT_EQ(Values(*registry).count("paramd_pull_bytes_total fp32 wire job-1 tcp"), 1u);
  server.series().Expire(absl::Now() + kSeriesLinger);
  for (const auto& [name, value] : Values(*registry)) EXPECT_EQ(name.find("job-1"), std::string::npos) << name;
}

}  // namespace
}  // namespace paramd
