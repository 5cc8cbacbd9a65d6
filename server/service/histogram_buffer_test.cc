#include "server/service/histogram_buffer.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

const prometheus::Histogram::BucketBoundaries kBoundaries = {0.1, 1, 10};

TEST(HistogramBufferTest, GivesWhatObservingOneByOneGives) {
  prometheus::Histogram expected(kBoundaries), flushed(kBoundaries);
  HistogramBuffer buffer(kBoundaries);
  EXPECT_TRUE(buffer.empty());
  for (double value : {0.0, 0.1, 0.1000001, 1.0, 5.0, 10.0, 10.5, 1e9, -1.0}) {
    expected.Observe(value);
    buffer.Observe(value);
    if (value == 5.0) buffer.FlushTo(flushed);
  }
  EXPECT_FALSE(buffer.empty());
  buffer.FlushTo(flushed);
  EXPECT_TRUE(buffer.empty());
  buffer.FlushTo(flushed);  // Nothing is counted again.
  const auto a = expected.Collect().histogram, b = flushed.Collect().histogram;
  EXPECT_EQ(a.sample_count, b.sample_count);
  EXPECT_DOUBLE_EQ(a.sample_sum, b.sample_sum);
  ASSERT_EQ(a.bucket.size(), b.bucket.size());
  for (size_t i = 0; i < a.bucket.size(); ++i) EXPECT_EQ(a.bucket[i].cumulative_count, b.bucket[i].cumulative_count);
}

}  // namespace
}  // namespace paramd
