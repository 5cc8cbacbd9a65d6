#include "client/progress.h"

#include <algorithm>
#include <sstream>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

v1::Job Training(uint64_t step) {
  v1::Job job;
  job.set_job_id("a-1");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_phase(v1::JOB_PHASE_TRAINING);
  v1::JobProgress& progress = *job.mutable_progress();
  progress.set_step(step);
  progress.set_total_steps(100);
  progress.set_loss(2.5);
  progress.set_first_loss(5.5);
  progress.set_tokens(step * 1000);
  progress.set_tokens_per_second(500);
  return job;
}

TEST(ProgressText, NamesStepLossRateAndTimeLeft) {
  EXPECT_EQ(ProgressText(Training(60)), "step 60/100  loss 2.5000  500 tokens/s  eta 1m20s");
  v1::Job job = Training(60);
  job.mutable_progress()->set_validation_loss(2.25);
  EXPECT_EQ(ProgressText(job), "step 60/100  loss 2.5000  val 2.2500  500 tokens/s  eta 1m20s");
  EXPECT_EQ(ProgressText(Training(0)), "RUNNING (TRAINING)");
}

TEST(ProgressText, CountsSamplesForClassifiersAndKnowsNoTimeWithoutARate) {
  v1::Job job = Training(50);
  job.mutable_spec()->mutable_model()->mutable_mlp();
  job.mutable_progress()->set_tokens(0);
  job.mutable_progress()->set_samples(5000);
  EXPECT_EQ(ProgressText(job), "step 50/100  loss 2.5000  500 samples/s  eta 10s");
  job.mutable_progress()->set_tokens_per_second(0);
  EXPECT_EQ(ProgressText(job), "step 50/100  loss 2.5000");
  EXPECT_LT(TimeLeft(job.progress()), absl::ZeroDuration());
}

TEST(Progress, PipeGetsPlainLinesAtMostOncePerSecond) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress({.terminal = false}, clock, out);
  progress.OnJob(Training(0));
  for (int step = 1; step <= 20; ++step) {
    progress.OnJob(Training(step));
    clock.Advance(absl::Milliseconds(250));
  }
  EXPECT_EQ(out.str(),
            "01:00:00   step 1/100  loss 2.5000  500 tokens/s  eta 3m18s\n"
            "01:00:01   step 5/100  loss 2.5000  500 tokens/s  eta 3m10s\n"
            "01:00:02   step 9/100  loss 2.5000  500 tokens/s  eta 3m02s\n"
            "01:00:03   step 13/100  loss 2.5000  500 tokens/s  eta 2m54s\n"
            "01:00:04   step 17/100  loss 2.5000  500 tokens/s  eta 2m46s\n");
}

TEST(Progress, TerminalRedrawsAtMostTenTimesASecond) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress({.terminal = true, .width = 80}, clock, out);
  for (int step = 1; step <= 100; ++step) {
    progress.OnJob(Training(step));
    clock.Advance(absl::Milliseconds(10));
  }
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '['), 10 + 9) << "ten bars, nine of them behind an erase sequence";
  EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr("\n")));
}

TEST(Progress, BarFitsTheTerminalAndUsesColorOnlyWhenAsked) {
  for (const int width : {1, 20, 60, 80, 200}) {
    FakeClock clock;
    std::ostringstream out;
    Progress progress({.terminal = true, .width = width}, clock, out);
    progress.OnJob(Training(50));
    EXPECT_LE(out.str().size(), static_cast<size_t>(width));
    EXPECT_THAT(out.str(), ::testing::Not(::testing::HasSubstr("\x1b[32m")));
  }
  FakeClock clock;
  std::ostringstream out;
  Progress({.terminal = true, .color = true, .width = 100}, clock, out).OnJob(Training(50));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("\x1b[32m"));
}

TEST(Progress, EventsGetALineOfTheirOwnAboveTheBar) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress({.terminal = true, .width = 20}, clock, out);
  progress.OnJob(Training(50));
  v1::JobEvent event;
  event.set_reason("EVALUATED");
  event.set_message("loss 2.1");
  event.set_warning(true);
  progress.OnEvent(event);
  progress.Finish(Training(100));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("\r\x1b[K00:00:00 ! EVALUATED            loss 2.1\n"));
  EXPECT_THAT(out.str(), ::testing::HasSubstr("\njob a-1 RUNNING\n  step 100/100  loss 5.5000 -> 2.5000"));
}

}  // namespace
}  // namespace paramd
