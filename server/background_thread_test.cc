#include "server/background_thread.h"

#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(BackgroundThreadTest, RunsTasksInOrder) {
  BackgroundThread background;
  std::vector<int> order;
  absl::Notification done;
  for (int i = 0; i < 10; ++i) background.Post([&order, i] { order.push_back(i); });
  background.Post([&done] { done.Notify(); });
  done.WaitForNotification();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(BackgroundThreadTest, StopWaitsForTheTaskUnderWayAndTakesNoMore) {
  BackgroundThread background;
  absl::Notification started, may_end;
  bool ended = false, dropped_ran = false;
  background.Post([&] {
    started.Notify();
    may_end.WaitForNotification();
    ended = true;
  });
  background.Post([&] { dropped_ran = true; });
  started.WaitForNotification();
  std::thread stopper([&background] { background.Stop(); });
  may_end.Notify();
  stopper.join();
  EXPECT_TRUE(ended);
  const bool ran_before_stop = dropped_ran;  // Stop may have come after the first task's end.
  dropped_ran = false;
  background.Post([&] { dropped_ran = true; });
  background.Stop();
  EXPECT_FALSE(dropped_ran) << "ran before stop: " << ran_before_stop;
}

}  // namespace
}  // namespace paramd
