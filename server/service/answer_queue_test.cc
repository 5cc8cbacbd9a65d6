#include "server/service/answer_queue.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

struct Item {
  uint32_t number = 0;
  uint32_t answered_chunk = 0;
  bool mark = false;
  Item* next = nullptr;

  bool is_mark() const { return mark; }
  uint32_t chunk() const { return answered_chunk; }
};

TEST(AnswerQueueTest, WhatIsReadyLeavesInTheOrderOfChunks) {
  AnswerQueue<Item> queue;
  Item items[] = {{0, 5}, {1, 2}, {2, 9}, {3, 2}, {4, 0}};
  for (size_t i = 0; i < std::size(items); ++i) EXPECT_EQ(queue.Push(items[i]), i == 0);
  std::vector<uint32_t> order;
  for (int i = 0; i < 3; ++i) order.push_back(queue.Next()->number);
  EXPECT_EQ(order, (std::vector<uint32_t>{4, 1, 3})) << "equal chunks in order of arrival";
  EXPECT_TRUE(queue.has_more());
  Item late = {5, 1};
  EXPECT_FALSE(queue.Push(late));
  EXPECT_EQ(queue.Next()->number, 5u) << "before those that waited";
  EXPECT_EQ(queue.Next()->number, 0u);
  EXPECT_EQ(queue.Next()->number, 2u);
  EXPECT_FALSE(queue.has_more());
  EXPECT_EQ(queue.Next(), nullptr);
  EXPECT_TRUE(queue.TryIdle());
}

TEST(AnswerQueueTest, AMarkWakesTheWriterAndIsNoAnswer) {
  AnswerQueue<Item> queue;
  Item mark = {.mark = true}, item = {1, 1};
  EXPECT_TRUE(queue.Push(mark));
  EXPECT_EQ(queue.Next(), nullptr);
  EXPECT_FALSE(queue.Push(item));
  EXPECT_FALSE(queue.TryIdle()) << "something came";
  EXPECT_EQ(queue.Next(), &item);
  EXPECT_FALSE(queue.has_more());
}

TEST(AnswerQueueTest, EveryAnswerIsTakenOnce) {
  constexpr uint32_t kThreads = 4, kItems = 20000;
  AnswerQueue<Item> queue;
  std::vector<std::vector<Item>> items(kThreads, std::vector<Item>(kItems));
  std::vector<std::vector<int>> taken(kThreads, std::vector<int>(kItems, 0));  // Of the writer.
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kItems; ++i) {
        items[t][i] = {.number = t, .answered_chunk = i};
        if (!queue.Push(items[t][i])) continue;
        do {
          while (const Item* item = queue.Next()) ++taken[item->number][item->answered_chunk];
        } while (!queue.TryIdle());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<int>& of_thread : taken) EXPECT_EQ(of_thread, std::vector<int>(kItems, 1));
}

}  // namespace
}  // namespace paramd
