// The server's metric families (prefix paramd_). One ServerMetrics per daemon; one JobMetrics per job held, whose
// series vanish with it. References are looked up once, so counting takes no lock beyond prometheus-cpp's own atomics.
//
// Thread safe.
#ifndef PARAMD_SERVER_SERVICE_SERVER_METRICS_H_
#define PARAMD_SERVER_SERVICE_SERVER_METRICS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "server/store/job_plan.h"

namespace paramd {

class ServerMetrics {
 public:
  // `registry` keeps the series.
  ServerMetrics(std::shared_ptr<prometheus::Registry> registry, int owner_threads);

  prometheus::Gauge& queue_length(int thread) { return *queue_length_[thread]; }
  prometheus::Histogram& queue_wait() { return *queue_wait_; }
  prometheus::Gauge& memory_limit() { return *memory_limit_; }
  prometheus::Gauge& memory_used() { return *memory_used_; }

 private:
  friend class JobMetrics;

  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Histogram>& push_duration_;
  prometheus::Family<prometheus::Histogram>& pull_duration_;
  prometheus::Family<prometheus::Counter>& push_bytes_;
  prometheus::Family<prometheus::Counter>& pull_bytes_;
  prometheus::Family<prometheus::Histogram>& apply_duration_;
  prometheus::Family<prometheus::Counter>& updates_applied_;
  prometheus::Family<prometheus::Counter>& gradients_dropped_;
  prometheus::Family<prometheus::Histogram>& staleness_;
  prometheus::Family<prometheus::Gauge>& global_step_;
  prometheus::Family<prometheus::Gauge>& parameters_;
  prometheus::Family<prometheus::Gauge>& parameter_bytes_;
  std::vector<prometheus::Gauge*> queue_length_;
  prometheus::Histogram* queue_wait_;
  prometheus::Gauge* memory_limit_;
  prometheus::Gauge* memory_used_;
};

class JobMetrics {
 public:
  // `metrics` must outlive it.
  JobMetrics(ServerMetrics& metrics, const JobPlan& plan);
  ~JobMetrics();
  JobMetrics(const JobMetrics&) = delete;
  JobMetrics& operator=(const JobMetrics&) = delete;

  prometheus::Histogram& push_duration;
  prometheus::Histogram& pull_duration;
  prometheus::Counter& push_bytes_wire;
  prometheus::Counter& push_bytes_raw;
  prometheus::Counter& pull_bytes_wire;
  prometheus::Counter& pull_bytes_raw;
  prometheus::Histogram& apply_duration;  // Shared by the jobs with this optimizer.
  prometheus::Counter& updates_applied;
  prometheus::Counter& dropped_duplicate;
  prometheus::Counter& dropped_fenced;
  prometheus::Counter& dropped_non_finite;
  prometheus::Histogram& staleness;
  prometheus::Gauge& global_step;

 private:
  ServerMetrics& metrics_;
  std::vector<prometheus::Gauge*> parameters_;
  std::vector<prometheus::Gauge*> parameter_bytes_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_SERVER_METRICS_H_
