// The worker's metric families and, per job, their series, whose counts linger for a while after it (SeriesKeeper).
//
//   WorkerMetrics metrics(*registry, "cpu");
//   std::unique_ptr<WorkerJobMetrics> job = metrics.ForJob("gpt-a1b2c3");
//   job->Observe(step_report, client->stats());
//
// WorkerMetrics is thread safe; a WorkerJobMetrics belongs to its training thread and must not outlive the
// WorkerMetrics.
#ifndef PARAMD_WORKER_TRAIN_WORKER_METRICS_H_
#define PARAMD_WORKER_TRAIN_WORKER_METRICS_H_

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "common/metrics/series_keeper.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "proto/parameter.pb.h"
#include "worker/parameter_client/client_stats.h"
#include "worker/train/step_loop.h"

namespace paramd {

class WorkerJobMetrics;

class WorkerMetrics {
 public:
  // `device` is the kind of device, from a closed set ("cpu").
  WorkerMetrics(prometheus::Registry& registry, const std::string& device);

  std::unique_ptr<WorkerJobMetrics> ForJob(const std::string& job_id);
  void SetJobs(int jobs) { jobs_.Set(jobs); }
  // Of the jobs' series.
  SeriesKeeper& series() { return series_; }

 private:
  friend class WorkerJobMetrics;

  const std::string device_;
  SeriesKeeper series_;
  prometheus::Gauge& jobs_;
  prometheus::Family<prometheus::Histogram>& step_duration_;
  prometheus::Family<prometheus::Counter>& steps_;
  prometheus::Family<prometheus::Counter>& samples_;
  prometheus::Family<prometheus::Counter>& tokens_;
  prometheus::Family<prometheus::Gauge>& loss_;
  prometheus::Family<prometheus::Counter>& pushed_bytes_;
  prometheus::Family<prometheus::Counter>& pulled_bytes_;
  prometheus::Family<prometheus::Counter>& retries_;
  prometheus::Family<prometheus::Counter>& reconnections_;
  prometheus::Family<prometheus::Counter>& refusals_;
  prometheus::Family<prometheus::Gauge>& in_flight_bytes_;
  prometheus::Family<prometheus::Gauge>& streams_;
  prometheus::Family<prometheus::Counter>& non_finite_;
};

// A job's bytes in one direction: series by codec and stage, made when the codec is used first.
class TrafficMetrics {
 public:
  using Totals = std::array<Traffic, v1::Codec_ARRAYSIZE>;

  TrafficMetrics(SeriesKeeper& keeper, prometheus::Family<prometheus::Counter>& family, std::string job_id)
      : keeper_(keeper), family_(family), job_id_(std::move(job_id)) {}
  ~TrafficMetrics();
  TrafficMetrics(const TrafficMetrics&) = delete;
  TrafficMetrics& operator=(const TrafficMetrics&) = delete;

  void Observe(const Totals& totals);

 private:
  struct Series {
    prometheus::Counter* wire = nullptr;
    prometheus::Counter* raw = nullptr;
  };

  SeriesKeeper& keeper_;
  prometheus::Family<prometheus::Counter>& family_;
  const std::string job_id_;
  std::array<Series, v1::Codec_ARRAYSIZE> series_;
  Totals seen_{};
};

class WorkerJobMetrics {
 public:
  WorkerJobMetrics(WorkerMetrics& metrics, const std::string& job_id);
  ~WorkerJobMetrics();
  WorkerJobMetrics(const WorkerJobMetrics&) = delete;
  WorkerJobMetrics& operator=(const WorkerJobMetrics&) = delete;

  // A step of the job, and the client's totals after it.
  void Observe(const StepReport& report, const ParameterClientStats& stats);

 private:
  static constexpr int kPhases = 5;

  WorkerMetrics& metrics_;
  std::array<prometheus::Histogram*, kPhases> step_duration_;
  prometheus::Counter& steps_;
  prometheus::Counter& samples_;
  prometheus::Counter& tokens_;
  prometheus::Gauge& loss_;
  TrafficMetrics pushed_bytes_;
  TrafficMetrics pulled_bytes_;
  prometheus::Counter& retries_;
  prometheus::Counter& reconnections_;
  prometheus::Counter& refusals_;
  prometheus::Gauge& in_flight_bytes_;
  std::array<prometheus::Gauge*, kStreamTransports> streams_;
  prometheus::Counter& non_finite_loss_;
  prometheus::Counter& non_finite_gradient_;
  ParameterClientStats seen_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_WORKER_METRICS_H_
