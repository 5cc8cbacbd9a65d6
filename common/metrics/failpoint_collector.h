// Of each failpoint that a rule names: paramd_failpoint_hits_total{name} (passed) and
// paramd_failpoint_fired_total{name} (a rule made it do something). A run of a test in which a fault never fired says
// nothing. Empty when nothing is armed.
//
//   FailpointCollector collector;
//   std::vector<prometheus::MetricFamily> families = collector.Collect();
//
// Thread safe.
#ifndef PARAMD_COMMON_METRICS_FAILPOINT_COLLECTOR_H_
#define PARAMD_COMMON_METRICS_FAILPOINT_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace paramd {

class FailpointCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_METRICS_FAILPOINT_COLLECTOR_H_
