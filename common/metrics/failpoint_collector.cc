#include "common/metrics/failpoint_collector.h"

#include <string>

#include "common/base/failpoint.h"

namespace paramd {
namespace {

void Add(prometheus::MetricFamily& family, const std::string& name, uint64_t value) {
  prometheus::ClientMetric metric;
  metric.label = {{"name", name}};
  metric.counter.value = static_cast<double>(value);
  family.metric.push_back(std::move(metric));
}

}  // namespace

std::vector<prometheus::MetricFamily> FailpointCollector::Collect() const {
  const std::vector<FailpointCount> counts = CountFailpoints();
  if (counts.empty()) return {};
  prometheus::MetricFamily hits = {.name = "paramd_failpoint_hits_total",
                                   .help = "How often a failpoint with a rule was passed.",
                                   .type = prometheus::MetricType::Counter,
                                   .metric = {}};
  prometheus::MetricFamily fired = {.name = "paramd_failpoint_fired_total",
                                    .help = "How often a failpoint did something.",
                                    .type = prometheus::MetricType::Counter,
                                    .metric = {}};
  for (const FailpointCount& count : counts) {
    const std::string name(InfoOf(count.point).name);
    Add(hits, name, count.hits);
    Add(fired, name, count.fired);
  }
  return {std::move(hits), std::move(fired)};
}

}  // namespace paramd
