#include "server/store/buffer_pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(BufferPoolTest, BuffersAreAlignedAndUsedAgainBySize) {
  auto pool = BufferPool::Create();
  const float* first = nullptr;
  {
    Buffer buffer = pool->Take(100);
    first = buffer.data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
    EXPECT_EQ(buffer.span().size(), 100u);
  }
  Buffer larger = pool->Take(129);
  Buffer again = pool->Take(128);  // 100 was rounded up to it.
  EXPECT_EQ(again.data(), first);
  EXPECT_NE(larger.data(), first);
  EXPECT_EQ(pool->allocated_bytes(), (128 + 256) * 4);
}

TEST(BufferPoolTest, AnySizeFits) {
  auto pool = BufferPool::Create();
  for (int64_t size : {0, 1, 16, 17, 1023, 1024, 1025, 1000007}) {
    Buffer buffer = pool->Take(size);
    ASSERT_EQ(buffer.size(), size);
    std::fill(buffer.span().begin(), buffer.span().end(), 1.0f);
  }
}

TEST(BufferPoolTest, ManyAtOnceAreAllDifferent) {
  auto pool = BufferPool::Create();
  for (int round = 0; round < 2; ++round) {
    std::vector<Buffer> buffers;
    std::set<const float*> places;
    for (int i = 0; i < 1000; ++i) {
      buffers.push_back(pool->Take(16));
      places.insert(buffers.back().data());
    }
    EXPECT_EQ(places.size(), 1000u);
  }
  EXPECT_EQ(pool->allocated_bytes(), 1000 * 16 * 4);
}

TEST(BufferPoolTest, ObjectsLiveInThePoolAndKeepIt) {
  auto pool = BufferPool::Create();
  const auto make = [&pool] {
    return std::allocate_shared<std::pair<Buffer, int>>(PoolAllocator<std::pair<Buffer, int>>(pool), pool->Take(16), 7);
  };
  make();
  const int64_t bytes = pool->allocated_bytes();
  std::shared_ptr<std::pair<Buffer, int>> object = make();
  EXPECT_EQ(pool->allocated_bytes(), bytes);
  pool.reset();
  EXPECT_EQ(object->second, 7);
}

TEST(BufferPoolTest, MovedBuffersAreGivenBackOnce) {
  auto pool = BufferPool::Create();
  {
    Buffer a = pool->Take(8);
    Buffer b = std::move(a);
    EXPECT_EQ(a.data(), nullptr);
    a = pool->Take(8);
    b = std::move(a);
  }
  Buffer c = pool->Take(8), d = pool->Take(8);
  EXPECT_NE(c.data(), d.data());
  EXPECT_EQ(pool->allocated_bytes(), 2 * 16 * 4);
}

TEST(BufferPoolTest, BufferOutlivesThePoolPointer) {
  Buffer buffer;
  {
    auto pool = BufferPool::Create();
    buffer = pool->Take(16);
  }
  buffer.span()[15] = 1;
  EXPECT_EQ(buffer.span()[15], 1);
}

// Buffers that one thread takes and another gives back: no two are the same while they are in use.
TEST(BufferPoolTest, ThreadsHandBuffersToEachOther) {
  auto pool = BufferPool::Create();
  constexpr int kThreads = 4, kRounds = 20000;
  std::array<std::atomic<Buffer*>, kThreads> handed = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        auto buffer = std::make_unique<Buffer>(pool->Take(16));
        const float mark = static_cast<float>(t * kRounds + i);
        std::fill(buffer->span().begin(), buffer->span().end(), mark);
        const std::unique_ptr<Buffer> other(handed[(t + 1) % kThreads].exchange(buffer.release()));
        if (other == nullptr) continue;
        for (float value : other->span()) ASSERT_EQ(value, other->span()[0]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::atomic<Buffer*>& last : handed) delete last.load();
  EXPECT_LE(pool->allocated_bytes(), 2 * kThreads * 16 * 4);
}

}  // namespace
}  // namespace paramd
