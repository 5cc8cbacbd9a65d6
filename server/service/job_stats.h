// What one owner thread has counted for a job and not added to the job's metrics yet: counting costs no lock and shares
// no cache line with other threads.
//
//   stats.CountPush(v1::CODEC_BF16, Transport::kTcp, {.wire_bytes = 2048, .raw_bytes = 4096}, taken);
//   stats.Flush(metrics);           // at the thread's tick
//
// Not thread safe.
#ifndef PARAMD_SERVER_SERVICE_JOB_STATS_H_
#define PARAMD_SERVER_SERVICE_JOB_STATS_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "proto/parameter.pb.h"
#include "server/service/histogram_buffer.h"
#include "server/service/server_metrics.h"
#include "server/service/transport.h"

namespace paramd {

struct TransferSize {
  size_t wire_bytes = 0;  // As encoded.
  size_t raw_bytes = 0;   // As fp32.
};

class JobStats {
 public:
  JobStats();

  void CountPush(v1::Codec codec, Transport transport, TransferSize size, absl::Duration taken) {
    pushes_.Count(codec, transport, size, taken);
  }
  void CountPull(v1::Codec codec, Transport transport, TransferSize size, absl::Duration taken) {
    pulls_.Count(codec, transport, size, taken);
  }
  void CountDuplicate() { ++duplicates_; }
  void CountNonFinite() { ++non_finite_; }
  void CountUpdate() { ++updates_; }
  void CountApply(absl::Duration taken) { apply_duration_.Observe(absl::ToDoubleSeconds(taken)); }
  void CountStaleness(uint64_t clocks) { staleness_.Observe(static_cast<double>(clocks)); }
  void SetGlobalStep(uint64_t step) { global_step_ = step; }

  // Adds everything to `metrics` and starts again at 0.
  void Flush(JobMetrics& metrics);

 private:
  class Transfers {
   public:
    void Count(v1::Codec codec, Transport transport, TransferSize size, absl::Duration taken);
    void Flush(TransferMetrics& metrics);

   private:
    struct OfCodec {
      HistogramBuffer duration = HistogramBuffer(ServerMetrics::DurationBuckets());
      std::array<TransferSize, kTransports> sizes = {};
    };
    std::array<std::optional<OfCodec>, TransferMetrics::kCodecs> codecs_;  // Made at the first use.
  };

  Transfers pushes_;
  Transfers pulls_;
  HistogramBuffer apply_duration_;
  HistogramBuffer staleness_;
  int64_t duplicates_ = 0;
  int64_t non_finite_ = 0;
  int64_t updates_ = 0;
  std::optional<uint64_t> global_step_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_JOB_STATS_H_
