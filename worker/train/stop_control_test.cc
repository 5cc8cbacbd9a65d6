#include "worker/train/stop_control.h"

#include <thread>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(StopControlTest, RunsAllStepsWhenNobodyAsks) {
  StopControl control(2);
  EXPECT_EQ(control.BeginStep(0).value(), true);
  EXPECT_EQ(control.BeginStep(1).value(), true);
  EXPECT_EQ(control.BeginStep(2).value(), false);
  EXPECT_FALSE(control.stopped_early());
}

TEST(StopControlTest, StopPointIsTheEndOfTheOpenStep) {
  StopControl control(10);
  EXPECT_EQ(StopControl(10).RequestStop(), 0u);
  ASSERT_EQ(control.BeginStep(0).value(), true);
  ASSERT_EQ(control.BeginStep(1).value(), true);
  EXPECT_EQ(control.RequestStop(), 2u);
  EXPECT_EQ(control.RequestStop(), 2u);
  control.StopAt(4);
  EXPECT_EQ(control.BeginStep(2).value(), true);
  EXPECT_EQ(control.BeginStep(3).value(), true);
  EXPECT_EQ(control.BeginStep(4).value(), false);
  EXPECT_TRUE(control.stopped_early());
}

TEST(StopControlTest, StopPointIsNotBeforeTheFirstStep) {
  StopControl resumed(10, 4);
  EXPECT_EQ(resumed.RequestStop(), 4u);
  resumed.StopAt(4);
  EXPECT_EQ(resumed.BeginStep(4).value(), false);
  StopControl joining(10);
  joining.NotBefore(7);
  joining.NotBefore(6);
  EXPECT_EQ(joining.RequestStop(), 7u);
  StopControl beyond(10);
  beyond.NotBefore(11);
  EXPECT_EQ(beyond.RequestStop(), 10u);
}

TEST(StopControlTest, WaitsAtItsStopPointUntilTold) {
  StopControl control(10);
  ASSERT_EQ(control.BeginStep(0).value(), true);
  ASSERT_EQ(control.RequestStop(), 1u);
  bool go = false;
  std::thread trainer([&] { go = control.BeginStep(1).value(); });
  control.StopAt(2);
  trainer.join();
  EXPECT_TRUE(go);
  EXPECT_EQ(control.BeginStep(2).value(), false);
}

TEST(StopControlTest, CancelEndsTheWait) {
  StopControl control(10);
  ASSERT_EQ(control.RequestStop(), 0u);
  absl::Status status;
  std::thread trainer([&] { status = control.BeginStep(0).status(); });
  control.Cancel(absl::AbortedError("released"));
  trainer.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  control.Cancel(absl::InternalError("later"));
  EXPECT_THAT(control.BeginStep(0), StatusIs(absl::StatusCode::kAborted));
}

TEST(StopControlTest, AfterTheLastStepNothingWaits) {
  StopControl control(1);
  ASSERT_EQ(control.BeginStep(0).value(), true);
  EXPECT_EQ(control.RequestStop(), 1u);
  EXPECT_EQ(control.BeginStep(1).value(), false);
  control.StopAt(7);
  EXPECT_FALSE(control.stopped_early());
}

}  // namespace
}  // namespace paramd
