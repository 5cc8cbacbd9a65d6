#include "common/trace/trace_report.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

Trace MakeTrace(int spans) {
  Trace trace = {.id = 5, .anchor = {.unix_offset_ns = 1'000'000'000'000'000'000}};
  for (int i = 0; i < spans; ++i) {
    trace.entries.push_back({.lane = {"owner", 2},
                             .name = "apply",
                             .start_ns = i * 2500,
                             .end_ns = i * 2500 + 2500,
                             .step = 7,
                             .chunk = i});
  }
  return trace;
}

TEST(TraceReportTest, SpansInMicrosecondsSinceTheEpoch) {
  Trace trace = MakeTrace(2);
  trace.entries.push_back({.lane = {"norm"}, .name = "norm", .start_ns = 6000, .end_ns = 5999, .step = 8});
  const v1::TraceReport report = ToTraceReport(trace);
  EXPECT_EQ(report.trace(), 5u);
  EXPECT_FALSE(report.truncated());
  ASSERT_EQ(report.spans_size(), 3);
  EXPECT_EQ(report.spans(0).node_id(), "");
  EXPECT_EQ(report.spans(0).lane(), "owner 2");
  EXPECT_EQ(report.spans(0).name(), "apply");
  EXPECT_EQ(report.spans(0).start_us(), 1'000'000'000'000'000);
  EXPECT_EQ(report.spans(0).duration_us(), 2);
  EXPECT_EQ(report.spans(0).step(), 7u);
  EXPECT_EQ(report.spans(0).chunk(), 0u);
  EXPECT_TRUE(report.spans(0).has_chunk());
  EXPECT_EQ(report.spans(1).start_us(), report.spans(0).start_us() + report.spans(0).duration_us())
      << "spans that touch still do";
  EXPECT_EQ(report.spans(1).duration_us(), 3);
  EXPECT_EQ(report.spans(2).lane(), "norm");
  EXPECT_FALSE(report.spans(2).has_chunk());
  EXPECT_EQ(report.spans(2).duration_us(), 0) << "never negative";
}

TEST(TraceReportTest, FitsIntoAMessageOfTheSession) {
  const v1::TraceReport report = ToTraceReport(MakeTrace(200'000));
  EXPECT_TRUE(report.truncated());
  EXPECT_GT(report.spans_size(), 50'000);
  EXPECT_EQ(report.spans(0).chunk(), 0u) << "what started first stays";
  EXPECT_LE(report.ByteSizeLong(), static_cast<size_t>(kMaxTraceReportBytes));
  EXPECT_GT(report.ByteSizeLong(), static_cast<size_t>(kMaxTraceReportBytes) * 8 / 10);
  EXPECT_TRUE(ToTraceReport(MakeTrace(10), /*max_bytes=*/100).truncated());
}

TEST(TraceReportTest, KeepsTheWordTruncated) {
  Trace trace = MakeTrace(1);
  trace.truncated = true;
  EXPECT_TRUE(ToTraceReport(trace).truncated());
}

}  // namespace
}  // namespace paramd
