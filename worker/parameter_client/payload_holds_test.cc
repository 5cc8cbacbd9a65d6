#include "worker/parameter_client/payload_holds.h"

#include <atomic>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(PayloadHoldsTest, WaitsForTheLastReferenceToAChunksSlices) {
  const auto holds = std::make_shared<PayloadHolds>(2);
  const std::string bytes = "gradient";
  grpc::Slice slice = holds->Hold(1, bytes, nullptr);
  EXPECT_EQ(slice.begin(), reinterpret_cast<const uint8_t*>(bytes.data()));  // Not copied.
  EXPECT_EQ(slice.size(), bytes.size());
  EXPECT_TRUE(holds->WaitForChunk(0));  // Another chunk's slices do not matter.
  std::atomic<bool> over = false;
  std::thread waiter([&] {
    EXPECT_TRUE(holds->WaitForChunk(1));
    over = true;
  });
  grpc::Slice copy = slice;
  slice = grpc::Slice();
  EXPECT_FALSE(over);
  copy = grpc::Slice();
  waiter.join();
  holds->WaitForAll();
}

TEST(PayloadHoldsTest, CancelEndsWaitsForChunks) {
  const auto holds = std::make_shared<PayloadHolds>(1);
  const std::string bytes = "gradient";
  grpc::Slice slice = holds->Hold(0, bytes, nullptr);
  std::thread waiter([&] { EXPECT_FALSE(holds->WaitForChunk(0)); });
  holds->Cancel();
  waiter.join();
  EXPECT_FALSE(holds->WaitForChunk(0));
  slice = grpc::Slice();
  EXPECT_TRUE(holds->WaitForChunk(0));
}

TEST(PayloadHoldsTest, SlicesKeepOwnerAndCounterAlive) {
  auto owner = std::make_shared<std::string>("gradient");
  const std::weak_ptr<std::string> alive = owner;
  auto holds = std::make_shared<PayloadHolds>(1);
  grpc::Slice slice = holds->Hold(0, *owner, owner);
  owner.reset();
  holds.reset();
  ASSERT_FALSE(alive.expired());
  EXPECT_EQ(std::string(slice.begin(), slice.end()), "gradient");
  slice = grpc::Slice();
  EXPECT_TRUE(alive.expired());
}

}  // namespace
}  // namespace paramd
