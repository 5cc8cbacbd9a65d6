#include "server/service/histogram_buffer.h"

#include <algorithm>

namespace paramd {

void HistogramBuffer::Observe(double value) {
  // As prometheus::Histogram: a bucket's upper boundary belongs to it.
  const auto bucket = std::lower_bound(boundaries_.begin(), boundaries_.end(), value);
  counts_[bucket - boundaries_.begin()] += 1;
  sum_ += value;
  empty_ = false;
}

void HistogramBuffer::FlushTo(prometheus::Histogram& histogram) {
  if (empty_) return;
  histogram.ObserveMultiple(counts_, sum_);
  std::fill(counts_.begin(), counts_.end(), 0.0);
  sum_ = 0;
  empty_ = true;
}

}  // namespace paramd
