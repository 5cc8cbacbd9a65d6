// The server's metric families (prefix paramd_). One ServerMetrics per daemon; one JobMetrics per job held, whose
// counts linger for a while after it (SeriesKeeper). Owner threads do not count here but in a JobStats (job_stats.h)
// each, which is added up here every now and then; what is counted directly is looked up once and takes no lock beyond
// prometheus-cpp's own.
//
// Thread safe.
#ifndef PARAMD_SERVER_SERVICE_SERVER_METRICS_H_
#define PARAMD_SERVER_SERVICE_SERVER_METRICS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/metrics/series_keeper.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "proto/parameter.pb.h"
#include "server/service/transport.h"
#include "server/store/job_plan.h"

namespace paramd {

class ServerMetrics {
 public:
  // `registry` keeps the series.
  ServerMetrics(std::shared_ptr<prometheus::Registry> registry, int owner_threads);

  static prometheus::Histogram::BucketBoundaries DurationBuckets();
  static prometheus::Histogram::BucketBoundaries StalenessBuckets();

  prometheus::Gauge& queue_length(int thread) { return *queue_length_[thread]; }
  prometheus::Histogram& queue_wait() { return *queue_wait_; }
  prometheus::Gauge& memory_limit() { return *memory_limit_; }
  prometheus::Gauge& memory_used() { return *memory_used_; }
  // Payload bytes of pushes that are held, and of answers that are not sent.
  prometheus::Gauge& push_bytes_in_flight() { return *push_bytes_in_flight_; }
  prometheus::Gauge& pull_bytes_in_flight() { return *pull_bytes_in_flight_; }
  prometheus::Gauge& attached_segments() { return *attached_segments_; }
  prometheus::Gauge& attached_bytes() { return *attached_bytes_; }
  // Of the jobs' series.
  SeriesKeeper& series() { return series_; }

 private:
  friend class JobMetrics;

  const std::shared_ptr<prometheus::Registry> registry_;
  SeriesKeeper series_;
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
  prometheus::Gauge* push_bytes_in_flight_;
  prometheus::Gauge* pull_bytes_in_flight_;
  prometheus::Gauge* attached_segments_;
  prometheus::Gauge* attached_bytes_;
};

// A job's pushes or pulls: series by codec and transport, made when the first such transfer is counted.
class TransferMetrics {
 public:
  static constexpr int kCodecs = v1::Codec_ARRAYSIZE;

  // All of them must outlive it.
  TransferMetrics(SeriesKeeper& keeper, prometheus::Family<prometheus::Histogram>& duration,
                  prometheus::Family<prometheus::Counter>& bytes, std::string job_id);
  ~TransferMetrics();
  TransferMetrics(const TransferMetrics&) = delete;
  TransferMetrics& operator=(const TransferMetrics&) = delete;

  prometheus::Histogram& duration(v1::Codec codec);
  // As encoded, and as fp32.
  prometheus::Counter& wire_bytes(v1::Codec codec, Transport transport) { return Bytes(codec, transport, 0); }
  prometheus::Counter& raw_bytes(v1::Codec codec, Transport transport) { return Bytes(codec, transport, 1); }

 private:
  prometheus::Counter& Bytes(v1::Codec codec, Transport transport, int stage);

  SeriesKeeper& keeper_;
  prometheus::Family<prometheus::Histogram>& duration_family_;
  prometheus::Family<prometheus::Counter>& bytes_family_;
  const std::string job_id_;
  absl::Mutex mutex_;
  // Null until the first use.
  std::array<prometheus::Histogram*, kCodecs> durations_ ABSL_GUARDED_BY(mutex_) = {};
  std::array<prometheus::Counter*, kCodecs * kTransports * 2> bytes_ ABSL_GUARDED_BY(mutex_) = {};
};

class JobMetrics {
 public:
  // `metrics` must outlive it.
  JobMetrics(ServerMetrics& metrics, const JobPlan& plan);
  ~JobMetrics();
  JobMetrics(const JobMetrics&) = delete;
  JobMetrics& operator=(const JobMetrics&) = delete;

  TransferMetrics pushes;
  TransferMetrics pulls;
  prometheus::Histogram& apply_duration;  // Shared by the jobs with this optimizer.
  prometheus::Counter& updates_applied;
  prometheus::Counter& dropped_damaged;
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
