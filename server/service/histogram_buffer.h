// Observations of one thread on their way to a prometheus::Histogram, which takes a lock for each: they are counted
// here and handed over many at a time.
//
//   HistogramBuffer waits(DurationBuckets());
//   waits.Observe(0.003);                  // a few nanoseconds
//   waits.FlushTo(metrics.queue_wait());   // every now and then
//
// Not thread safe.
#ifndef PARAMD_SERVER_SERVICE_HISTOGRAM_BUFFER_H_
#define PARAMD_SERVER_SERVICE_HISTOGRAM_BUFFER_H_

#include <utility>
#include <vector>

#include "prometheus/histogram.h"

namespace paramd {

class HistogramBuffer {
 public:
  // The boundaries of the histogram that it is flushed to.
  explicit HistogramBuffer(prometheus::Histogram::BucketBoundaries boundaries)
      : boundaries_(std::move(boundaries)), counts_(boundaries_.size() + 1, 0.0) {}

  void Observe(double value);
  bool empty() const { return empty_; }
  // Nothing when it is empty.
  void FlushTo(prometheus::Histogram& histogram);

 private:
  const prometheus::Histogram::BucketBoundaries boundaries_;
  std::vector<double> counts_;
  double sum_ = 0;
  bool empty_ = true;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_HISTOGRAM_BUFFER_H_
