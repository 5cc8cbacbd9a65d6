#include "server/service/owner_threads.h"

#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"

namespace paramd {
namespace {

class OwnerThreadsTest : public testing::Test {
 protected:
  void Start(OwnerThreadsOptions options, OwnerThreads::Ticker ticker = nullptr) {
    metrics_ = std::make_unique<ServerMetrics>(std::make_shared<prometheus::Registry>(), options.threads);
    threads_ = std::make_unique<OwnerThreads>(options, clock_, *metrics_, std::move(ticker));
  }

  RealClock clock_;
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<OwnerThreads> threads_;
};

TEST_F(OwnerThreadsTest, TasksOfAThreadRunInOrder) {
  Start({.threads = 2, .queue_capacity = 1000});
  std::vector<int> order[2];
  for (int i = 0; i < 200; ++i) {
    OwnerThreads::Task task = [&order, i] { order[i % 2].push_back(i); };
    ASSERT_TRUE(threads_->TryPost(i % 2, task, [] {}));
  }
  threads_->Stop();
  for (int thread : {0, 1}) {
    ASSERT_EQ(order[thread].size(), 100u);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(order[thread][i], 2 * i + thread);
  }
}

TEST_F(OwnerThreadsTest, AFullQueueRefusesAndCallsBackWhenThereIsRoom) {
  Start({.threads = 1, .queue_capacity = 2});
  absl::Notification started, blocker, space, retried;
  threads_->Post(0, [&] {
    started.Notify();
    blocker.WaitForNotification();
  });
  started.WaitForNotification();
  for (int i = 0; i < 2; ++i) {
    OwnerThreads::Task task = [] {};
    ASSERT_TRUE(threads_->TryPost(0, task, [] {}));
  }
  OwnerThreads::Task task = [&] { retried.Notify(); };
  ASSERT_FALSE(threads_->TryPost(0, task, [&] { space.Notify(); }));
  threads_->Post(0, [] {});  // Control tasks are never refused.
  EXPECT_FALSE(space.HasBeenNotified());
  blocker.Notify();
  space.WaitForNotification();
  ASSERT_TRUE(threads_->TryPost(0, task, [] {}));
  retried.WaitForNotification();
}

TEST_F(OwnerThreadsTest, TicksWhenDueAndNotAgainWithoutNeed) {
  int ticks = 0;
  absl::Notification ticked;
  Start({.threads = 1}, [&](int thread, absl::Time) {
    EXPECT_EQ(thread, 0);
    if (++ticks == 2) ticked.Notify();
    return ticks == 1 ? clock_.Now() : absl::InfiniteFuture();
  });
  threads_->Post(0, [&] { threads_->ScheduleTick(0, clock_.Now() + absl::Milliseconds(5)); });
  ticked.WaitForNotification();
  threads_->Stop();
  EXPECT_EQ(ticks, 2);
}

TEST_F(OwnerThreadsTest, StopRunsWhatIsQueuedAndRefusesTheRest) {
  Start({.threads = 1});
  bool ran = false, late = false;
  threads_->Post(0, [&] { ran = true; });
  threads_->Stop();
  OwnerThreads::Task task = [&] { late = true; };
  EXPECT_FALSE(threads_->TryPost(0, task, [&] { late = true; }));
  threads_->Post(0, [&] { late = true; });
  threads_->Stop();
  EXPECT_TRUE(ran);
  EXPECT_FALSE(late);
}

}  // namespace
}  // namespace paramd
