#include "server/coordinator/job_progress.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

class ProgressTrackerTest : public testing::Test {
 protected:
  ProgressTrackerTest() {
    record_.mutable_job()->mutable_spec()->mutable_training()->set_slots(4);
    record_.mutable_job()->mutable_spec()->mutable_model()->mutable_gpt2();
    for (int i = 0; i < 2; ++i) record_.mutable_job()->mutable_placement()->add_workers()->set_slot_count(2);
  }
  // Reports that `worker` has done all steps before `step`, with `loss_sum` over its two slots for each of [first,
  // step).
  void Report(ProgressTracker& tracker, int worker, uint64_t first, uint64_t step, double loss_sum) {
    v1::WorkerProgress report;
    report.set_step(step);
    for (uint64_t s = first; s < step; ++s) {
      v1::StepLoss& loss = *report.add_losses();
      loss.set_step(s);
      loss.set_loss_sum(loss_sum);
      loss.set_slots(2);
    }
    report.set_tokens(100 * step);
    report.set_samples(10 * step);
    report.set_training_seconds(worker + 1);
    tracker.OnWorkerProgress(worker, report, absl::UnixEpoch(), record_);
  }
  const v1::JobProgress& progress() const { return record_.job().progress(); }

  coordinator::JobRecord record_;
};

TEST_F(ProgressTrackerTest, LossIsTheMeanOverAllSlotsOfTheNewestCompleteStep) {
  ProgressTracker tracker(record_);
  Report(tracker, 0, 0, 3, 4);
  EXPECT_EQ(progress().step(), 0u);
  EXPECT_EQ(progress().loss(), 0);
  Report(tracker, 1, 0, 1, 8);
  EXPECT_EQ(progress().step(), 1u);
  EXPECT_DOUBLE_EQ(progress().loss(), 3);  // (4 + 8) / 4 slots.
  EXPECT_DOUBLE_EQ(progress().first_loss(), 3);
  Report(tracker, 1, 1, 3, 0);
  EXPECT_EQ(progress().step(), 3u);
  EXPECT_DOUBLE_EQ(progress().loss(), 1);
  EXPECT_DOUBLE_EQ(progress().first_loss(), 3);
}

TEST_F(ProgressTrackerTest, RepeatedLossesCountOnce) {
  ProgressTracker tracker(record_);
  Report(tracker, 0, 0, 1, 4);
  Report(tracker, 0, 0, 1, 4);
  EXPECT_EQ(progress().loss(), 0);
  Report(tracker, 1, 0, 1, 4);
  EXPECT_DOUBLE_EQ(progress().loss(), 2);
}

TEST_F(ProgressTrackerTest, ThroughputIsOverTheSlowestWorkersTime) {
  ProgressTracker tracker(record_);
  Report(tracker, 0, 0, 10, 1);
  EXPECT_EQ(progress().tokens_per_second(), 0);  // Not before all have reported.
  Report(tracker, 1, 0, 10, 1);
  EXPECT_EQ(progress().tokens(), 2000u);
  EXPECT_EQ(progress().samples(), 200u);
  EXPECT_DOUBLE_EQ(progress().tokens_per_second(), 1000);  // 2000 tokens in 2 seconds.
}

TEST_F(ProgressTrackerTest, ClassifiersCountSamples) {
  record_.mutable_job()->mutable_spec()->mutable_model()->mutable_mlp();
  ProgressTracker tracker(record_);
  Report(tracker, 0, 0, 10, 1);
  Report(tracker, 1, 0, 10, 1);
  EXPECT_DOUBLE_EQ(progress().tokens_per_second(), 100);
}

TEST_F(ProgressTrackerTest, ProgressNeverGoesBackAfterARestart) {
  {
    ProgressTracker tracker(record_);
    Report(tracker, 0, 0, 10, 2);
    Report(tracker, 1, 0, 10, 2);
  }
  ProgressTracker tracker(record_);
  Report(tracker, 0, 10, 12, 8);
  EXPECT_EQ(progress().step(), 10u);
  EXPECT_EQ(progress().tokens(), 2000u);
  Report(tracker, 1, 10, 12, 8);
  EXPECT_EQ(progress().step(), 12u);
  EXPECT_DOUBLE_EQ(progress().loss(), 4);
  EXPECT_DOUBLE_EQ(progress().first_loss(), 1);
}

TEST_F(ProgressTrackerTest, StepsThatWaitForASlowWorkerAreBounded) {
  ProgressTracker tracker(record_);
  Report(tracker, 0, 0, ProgressTracker::kMaxOpenSteps + 100, 2);
  Report(tracker, 1, 0, ProgressTracker::kMaxOpenSteps, 6);
  EXPECT_DOUBLE_EQ(progress().loss(), 2);  // The oldest steps were kept.
  Report(tracker, 0, ProgressTracker::kMaxOpenSteps + 100, ProgressTracker::kMaxOpenSteps + 101, 10);
  Report(tracker, 1, ProgressTracker::kMaxOpenSteps + 100, ProgressTracker::kMaxOpenSteps + 101, 10);
  EXPECT_DOUBLE_EQ(progress().loss(), 5);  // And newer ones complete again.
}

TEST_F(ProgressTrackerTest, LeadServerTellsNormAndRate) {
  ProgressTracker tracker(record_);
  v1::ServerProgress report;
  report.set_gradient_norm(1.5);
  report.set_learning_rate(0.1);
  report.set_non_finite_skipped(2);
  tracker.OnServerProgress(0, report, absl::UnixEpoch(), record_);
  report.set_gradient_norm(99);
  report.set_non_finite_skipped(3);
  tracker.OnServerProgress(1, report, absl::UnixEpoch(), record_);
  EXPECT_EQ(progress().gradient_norm(), 1.5);
  EXPECT_EQ(progress().learning_rate(), 0.1);
  EXPECT_EQ(progress().non_finite_skipped(), 3u);
}

}  // namespace
}  // namespace paramd
