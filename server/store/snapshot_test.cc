#include "server/store/snapshot.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/crc32c.h"
#include "common/tensor/codec_half.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

std::vector<float> Weights(int64_t elements) {
  std::vector<float> weights(elements);
  for (int64_t i = 0; i < elements; ++i) weights[i] = 1.0f / static_cast<float>(i + 1);
  return weights;
}

SnapshotPointer Make(const std::shared_ptr<BufferPool>& pool, int64_t elements) {
  const std::vector<float> weights = Weights(elements);
  Buffer buffer = pool->Take(elements);
  std::copy(weights.begin(), weights.end(), buffer.data());
  return std::make_shared<const Snapshot>(3, std::move(buffer));
}

std::string Halves(const std::vector<float>& weights) {
  std::vector<uint16_t> halves(weights.size());
  EncodeBf16(weights, absl::MakeSpan(halves));
  return std::string(reinterpret_cast<const char*>(halves.data()), 2 * halves.size());
}

TEST(SnapshotTest, PayloadsAndTheirChecksums) {
  const auto pool = BufferPool::Create();
  for (int64_t elements : {1, 2, 1023, 1024}) {
    const SnapshotPointer snapshot = Make(pool, elements);
    const std::vector<float> weights = Weights(elements);
    const absl::string_view fp32 = snapshot->payload();
    EXPECT_EQ(fp32, absl::string_view(reinterpret_cast<const char*>(weights.data()), 4 * elements));
    EXPECT_EQ(fp32.data(), reinterpret_cast<const char*>(snapshot->weights().data())) << "not a copy";
    EXPECT_EQ(snapshot->payload(v1::CODEC_UNSPECIFIED), fp32);
    EXPECT_EQ(snapshot->payload(v1::CODEC_BF16), Halves(weights));
    EXPECT_EQ(snapshot->payload(v1::CODEC_BF16).data(), snapshot->payload(v1::CODEC_BF16).data()) << "encoded once";
    EXPECT_EQ(snapshot->crc32c(), Crc32c(fp32));
    EXPECT_EQ(snapshot->crc32c(v1::CODEC_BF16), Crc32c(Halves(weights)));
  }
}

TEST(SnapshotTest, ThreadsThatAskAtTheSameTimeGetTheSame) {
  const auto pool = BufferPool::Create();
  for (int round = 0; round < 20; ++round) {
    const SnapshotPointer snapshot = Make(pool, 1000);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([snapshot] {
        EXPECT_EQ(snapshot->payload(v1::CODEC_BF16), Halves(Weights(1000)));
        EXPECT_EQ(snapshot->crc32c(v1::CODEC_BF16), Crc32c(Halves(Weights(1000))));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(SnapshotTest, OutlivesEverythingElse) {
  auto pool = BufferPool::Create();
  SnapshotPointer snapshot = Make(pool, 16);
  pool.reset();
  EXPECT_EQ(snapshot->payload(v1::CODEC_BF16).size(), 32u);
}

}  // namespace
}  // namespace paramd
