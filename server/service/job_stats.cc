#include "server/service/job_stats.h"

#include <utility>

namespace paramd {

namespace {

void Add(prometheus::Counter& counter, int64_t& count) {
  if (const int64_t added = std::exchange(count, 0); added > 0) counter.Increment(static_cast<double>(added));
}

}  // namespace

JobStats::JobStats()
    : apply_duration_(ServerMetrics::DurationBuckets()), staleness_(ServerMetrics::StalenessBuckets()) {}

void JobStats::Transfers::Count(v1::Codec codec, Transport transport, TransferSize size, absl::Duration taken) {
  std::optional<OfCodec>& counted = codecs_[codec];
  if (!counted.has_value()) counted.emplace();
  counted->duration.Observe(absl::ToDoubleSeconds(taken));
  TransferSize& sum = counted->sizes[static_cast<int>(transport)];
  sum.wire_bytes += size.wire_bytes;
  sum.raw_bytes += size.raw_bytes;
}

void JobStats::Transfers::Flush(TransferMetrics& metrics) {
  for (int i = 0; i < TransferMetrics::kCodecs; ++i) {
    if (!codecs_[i].has_value() || codecs_[i]->duration.empty()) continue;
    const v1::Codec codec = static_cast<v1::Codec>(i);
    codecs_[i]->duration.FlushTo(metrics.duration(codec));
    for (int j = 0; j < kTransports; ++j) {
      const TransferSize size = std::exchange(codecs_[i]->sizes[j], {});
      if (size.wire_bytes == 0 && size.raw_bytes == 0) continue;
      const Transport transport = static_cast<Transport>(j);
      metrics.wire_bytes(codec, transport).Increment(static_cast<double>(size.wire_bytes));
      metrics.raw_bytes(codec, transport).Increment(static_cast<double>(size.raw_bytes));
    }
  }
}

void JobStats::Flush(JobMetrics& metrics) {
  pushes_.Flush(metrics.pushes);
  pulls_.Flush(metrics.pulls);
  apply_duration_.FlushTo(metrics.apply_duration);
  staleness_.FlushTo(metrics.staleness);
  Add(metrics.dropped_duplicate, duplicates_);
  Add(metrics.dropped_non_finite, non_finite_);
  Add(metrics.updates_applied, updates_);
  if (global_step_.has_value()) metrics.global_step.Set(static_cast<double>(*global_step_));
  global_step_.reset();
}

}  // namespace paramd
