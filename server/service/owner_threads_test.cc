#include "server/service/owner_threads.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"

namespace paramd {
namespace {

class OwnerThreadsTest : public testing::Test {
 protected:
  void Start(OwnerThreadsOptions options, OwnerThreads::Ticker ticker = nullptr) {
    threads_ = nullptr;  // Before what it uses.
    metrics_ = std::make_unique<ServerMetrics>(std::make_shared<prometheus::Registry>(), options.threads);
    threads_ = std::make_unique<OwnerThreads>(options, clock_, *metrics_, std::move(ticker));
  }
  uint64_t CountedWaits() { return metrics_->queue_wait().Collect().histogram.sample_count; }

  RealClock clock_;
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<OwnerThreads> threads_;
};

struct Task final : public OwnerTask {
  void Run() override {
    if (order != nullptr) order->push_back(number);
    ++ran;
  }
  void Drop() override { ++dropped; }

  int number = 0;
  std::vector<int>* order = nullptr;
  std::atomic<int> ran = 0;
  std::atomic<int> dropped = 0;
};

TEST_F(OwnerThreadsTest, TasksAndFunctionsOfAThreadRunInOrder) {
  Start({.threads = 2});
  std::vector<int> order[2];
  std::vector<Task> tasks(200);
  for (int i = 0; i < 200; ++i) {
    if (i % 10 < 2) {
      threads_->Post(i % 2, [&order, i] { order[i % 2].push_back(i); });
    } else {
      tasks[i].number = i;
      tasks[i].order = &order[i % 2];
      threads_->Submit(i % 2, tasks[i], clock_.Now());
    }
  }
  threads_->Stop();
  for (int thread : {0, 1}) {
    ASSERT_EQ(order[thread].size(), 100u);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(order[thread][i], 2 * i + thread);
  }
}

// Threads that fall asleep and are woken all the time.
TEST_F(OwnerThreadsTest, NoTaskIsForgotten) {
  constexpr int kSubmitters = 3, kRounds = 5000;
  for (int spins : {0, 1000}) {
    Start({.threads = 2, .spins = spins});
    std::vector<std::thread> submitters;
    std::atomic<int> ran = 0;
    for (int i = 0; i < kSubmitters; ++i) {
      submitters.emplace_back([&, i] {
        Task task;
        for (int round = 0; round < kRounds; ++round) {
          const int before = task.ran;
          threads_->Submit((i + round) % 2, task, clock_.Now());
          while (task.ran == before) std::this_thread::yield();
        }
        ran += task.ran;
      });
    }
    for (std::thread& submitter : submitters) submitter.join();
    EXPECT_EQ(ran, kSubmitters * kRounds);
  }
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

TEST_F(OwnerThreadsTest, AThreadThatIsNeverIdleTicks) {
  absl::Notification ticked;
  Start({.threads = 1}, [&](int, absl::Time) {
    if (!ticked.HasBeenNotified()) ticked.Notify();
    return absl::InfiniteFuture();
  });
  std::function<void()> again = [&] {
    if (!ticked.HasBeenNotified()) threads_->Post(0, again);
  };
  threads_->Post(0, [&] {
    threads_->ScheduleTick(0, clock_.Now() + absl::Milliseconds(2));
    again();
  });
  ticked.WaitForNotification();
  threads_->Stop();
}

TEST_F(OwnerThreadsTest, WaitsAreCountedAtTheTickAfterATask) {
  absl::Notification ticked;
  Start({.threads = 1}, [&](int, absl::Time) {
    ticked.Notify();
    return absl::InfiniteFuture();
  });
  Task task;
  threads_->Submit(0, task, clock_.Now());
  threads_->Post(0, [] {});  // Is no request.
  ticked.WaitForNotification();
  EXPECT_EQ(CountedWaits(), 1u);
  EXPECT_EQ(metrics_->queue_length(0).Value(), 0);
}

TEST_F(OwnerThreadsTest, StopRunsWhatIsQueuedAndDropsTheRest) {
  Start({.threads = 1});
  absl::Notification started, blocker;
  threads_->Post(0, [&] {
    started.Notify();
    blocker.WaitForNotification();
  });
  started.WaitForNotification();
  Task early, late;
  bool late_function = false;
  threads_->Submit(0, early, clock_.Now());
  std::thread stopper([&] { threads_->Stop(); });
  blocker.Notify();
  stopper.join();
  threads_->Submit(0, late, clock_.Now());
  threads_->Post(0, [&] { late_function = true; });
  threads_->Stop();
  EXPECT_EQ(early.ran, 1);
  EXPECT_EQ(late.ran, 0);
  EXPECT_EQ(late.dropped, 1);
  EXPECT_FALSE(late_function);
}

}  // namespace
}  // namespace paramd
