#include "server/store/buffer_pool.h"

#include <cstdint>
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
  Buffer other_size = pool->Take(99);
  Buffer again = pool->Take(100);
  EXPECT_EQ(again.data(), first);
  EXPECT_NE(other_size.data(), first);
  EXPECT_EQ(pool->allocated_bytes(), 199 * 4);
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
  EXPECT_EQ(pool->allocated_bytes(), 2 * 8 * 4);
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

TEST(BufferPoolTest, AnyThreadMayGiveBack) {
  auto pool = BufferPool::Create();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool] {
      for (int i = 0; i < 1000; ++i) pool->Take(32).span()[0] = 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(pool->allocated_bytes(), 4 * 32 * 4);
}

}  // namespace
}  // namespace paramd
