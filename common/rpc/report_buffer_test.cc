#include "common/rpc/report_buffer.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

v1::JobReport Finished(uint64_t step) {
  v1::JobReport report;
  report.set_job_id("j");
  report.mutable_finished()->set_step(step);
  return report;
}

v1::JobReport Progress(uint64_t step, const std::string& job = "j") {
  v1::JobReport report;
  report.set_job_id(job);
  report.set_number(99);  // Must not survive.
  report.mutable_progress()->set_step(step);
  report.mutable_progress()->add_losses()->set_step(step);
  return report;
}

// "f1 p7" for a finished report numbered 1 and progress of step 7.
std::string Text(const std::vector<v1::JobReport>& reports) {
  std::string text;
  for (const auto& report : reports) {
    if (!text.empty()) text += " ";
    text +=
        report.has_finished() ? "f" + std::to_string(report.number()) : "p" + std::to_string(report.progress().step());
    if (report.has_progress()) {
      EXPECT_EQ(report.number(), 0u);
    }
  }
  return text;
}

TEST(ReportBufferTest, NumbersAndKeepsUntilAcknowledged) {
  ReportBuffer buffer;
  EXPECT_FALSE(buffer.has_unsent());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(buffer.Add(Finished(i)));
  EXPECT_EQ(Text(buffer.TakeUnsent(2)), "f1 f2");
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "f3");
  EXPECT_FALSE(buffer.has_unsent());
  buffer.Acknowledge(1);
  buffer.ConnectionLost();
  EXPECT_TRUE(buffer.has_unsent());
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "f2 f3");
  buffer.Acknowledge(1);  // An old one: nothing happens.
  EXPECT_EQ(buffer.unacknowledged(), 2u);
  buffer.Acknowledge(1000);
  EXPECT_EQ(buffer.unacknowledged(), 0u);
  buffer.Add(Finished(0));
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "f4");
}

TEST(ReportBufferTest, KeepsTheOrderBetweenProgressAndReports) {
  ReportBuffer buffer;
  buffer.Add(Progress(1));
  buffer.Add(Finished(1));
  buffer.Add(Progress(2, "k"));
  buffer.Add(Finished(2));
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "p1 f1 p2 f2");
  buffer.Add(Progress(3));
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "p3");
  buffer.ConnectionLost();
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "f1 f2") << "progress is sent once";
}

TEST(ReportBufferTest, MergesWaitingProgress) {
  ReportBuffer buffer;
  for (int step = 1; step <= 5; ++step) buffer.Add(Progress(step));
  auto taken = buffer.TakeUnsent(9);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].progress().step(), 5u);
  ASSERT_EQ(taken[0].progress().losses_size(), 5);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(taken[0].progress().losses(i).step(), i + 1u);

  for (int step = 0; step < 2 * ReportBuffer::kMaxLosses; ++step) buffer.Add(Progress(step));
  taken = buffer.TakeUnsent(9);
  ASSERT_EQ(taken[0].progress().losses_size(), ReportBuffer::kMaxLosses);
  EXPECT_EQ(taken[0].progress().losses(0).step(), static_cast<uint64_t>(ReportBuffer::kMaxLosses));
}

TEST(ReportBufferTest, TracesAreSentOnceWithoutANumberAndTheNewestReplacesOthers) {
  ReportBuffer buffer;
  v1::JobReport report;
  report.set_job_id("j");
  for (uint64_t trace = 1; trace <= 2; ++trace) {
    report.mutable_trace()->set_trace(trace);
    report.mutable_trace()->clear_spans();
    report.mutable_trace()->add_spans()->set_step(trace);
    buffer.Add(report);
  }
  buffer.Add(Finished(1));
  const auto taken = buffer.TakeUnsent(9);
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0].number(), 0u);
  EXPECT_EQ(taken[0].trace().trace(), 2u);
  EXPECT_EQ(taken[0].trace().spans_size(), 1);
  EXPECT_EQ(taken[1].number(), 1u);
  buffer.ConnectionLost();
  EXPECT_EQ(Text(buffer.TakeUnsent(9)), "f1");
}

TEST(ReportBufferTest, IsBounded) {
  ReportBuffer buffer;
  for (size_t i = 0; i < ReportBuffer::kMaxReports; ++i) ASSERT_TRUE(buffer.Add(Finished(i)));
  EXPECT_FALSE(buffer.Add(Finished(0)));
  for (size_t i = 0; i < 2 * ReportBuffer::kMaxProgressJobs; ++i) buffer.Add(Progress(1, std::to_string(i)));
  EXPECT_EQ(buffer.TakeUnsent(1u << 20).size(), ReportBuffer::kMaxReports + ReportBuffer::kMaxProgressJobs);
  buffer.Clear();
  EXPECT_FALSE(buffer.has_unsent());
  EXPECT_TRUE(buffer.Add(Finished(0)));
  EXPECT_EQ(buffer.TakeUnsent(1)[0].number(), ReportBuffer::kMaxReports + 1);
}

}  // namespace
}  // namespace paramd
