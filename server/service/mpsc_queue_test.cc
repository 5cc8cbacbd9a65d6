#include "server/service/mpsc_queue.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

struct Item {
  int producer = 0;
  int number = 0;
  Item* next = nullptr;
};

std::vector<int> Numbers(const Item* item) {
  std::vector<int> numbers;
  for (; item != nullptr; item = item->next) numbers.push_back(item->number);
  return numbers;
}

TEST(MpscQueueTest, KeepsTheOrderAndSaysWhoMustConsume) {
  MpscQueue<Item> queue;
  Item items[4];
  for (int i = 0; i < 4; ++i) items[i].number = i;
  EXPECT_FALSE(queue.MayHaveItems());
  EXPECT_TRUE(queue.Push(items[0]));
  EXPECT_FALSE(queue.Push(items[1]));
  EXPECT_TRUE(queue.MayHaveItems());
  EXPECT_FALSE(queue.TryIdle());
  EXPECT_EQ(Numbers(queue.TakeAll()), (std::vector<int>{0, 1}));
  EXPECT_FALSE(queue.Push(items[2])) << "the consumer has not gone";
  EXPECT_FALSE(queue.TryIdle());
  EXPECT_FALSE(queue.Push(items[3]));
  EXPECT_EQ(Numbers(queue.TakeAll()), (std::vector<int>{2, 3}));
  EXPECT_EQ(queue.TakeAll(), nullptr);
  EXPECT_TRUE(queue.TryIdle());
  EXPECT_TRUE(queue.Push(items[0]));
  EXPECT_EQ(Numbers(queue.TakeAll()), (std::vector<int>{0}));
}

TEST(MpscQueueTest, TheRoleOfTheConsumerIsTakenOnce) {
  MpscQueue<Item> queue;
  Item item;
  EXPECT_TRUE(queue.TryBusy());
  EXPECT_FALSE(queue.TryBusy());
  EXPECT_FALSE(queue.Push(item)) << "there is a consumer";
  EXPECT_EQ(Numbers(queue.TakeAll()).size(), 1u);
  EXPECT_TRUE(queue.TryIdle());
  EXPECT_TRUE(queue.Push(item));
  EXPECT_FALSE(queue.TryBusy()) << "the pusher sees to it";
}

// Producers that find the queue idle become the consumer themselves, so that the role passes between all threads; the
// plain counters below are what ThreadSanitizer would see unordered.
TEST(MpscQueueTest, NothingIsLostBetweenManyThreads) {
  constexpr int kProducers = 4, kItems = 20000;
  MpscQueue<Item> queue;
  std::vector<std::vector<Item>> items(kProducers, std::vector<Item>(kItems));
  std::vector<int> next(kProducers, 0);  // Of the consumer.
  int disorder = 0;                      // Of the consumer.
  const auto consume = [&] {
    do {
      for (Item* item = queue.TakeAll(); item != nullptr; item = item->next) {
        if (next[item->producer]++ != item->number) ++disorder;
      }
    } while (!queue.TryIdle());
  };
  std::vector<std::thread> threads;
  for (int producer = 0; producer < kProducers; ++producer) {
    threads.emplace_back([&, producer] {
      for (int i = 0; i < kItems; ++i) {
        Item& item = items[producer][i];
        item.producer = producer;
        item.number = i;
        if (queue.Push(item)) consume();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(disorder, 0);
  for (int producer = 0; producer < kProducers; ++producer) EXPECT_EQ(next[producer], kItems);
}

}  // namespace
}  // namespace paramd
