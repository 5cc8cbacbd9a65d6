// The process_* family of Prometheus' client libraries, read from /proc at each scrape: process_cpu_seconds_total,
// process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds,
// process_start_time_seconds, process_threads.
//
//   ProcessCollector collector;
//   std::vector<prometheus::MetricFamily> families = collector.Collect();
//
// What /proc does not tell (another operating system, no permission) is left out. Thread safe.
#ifndef PARAMD_COMMON_METRICS_PROCESS_COLLECTOR_H_
#define PARAMD_COMMON_METRICS_PROCESS_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace paramd {

class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_METRICS_PROCESS_COLLECTOR_H_
