#include "tests/framework/fault_pipe.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

using Kind = FaultRule::Kind;

class FaultPipeTest : public testing::Test {
 protected:
  // All that goes out at `now`.
  std::string Drain() {
    std::string out;
    while (!pipe_.Ready(now_).empty()) {
      const absl::string_view ready = pipe_.Ready(now_);
      out.append(ready.data(), ready.size());
      pipe_.Pop(ready.size(), now_);
    }
    return out;
  }
  std::string Through(const std::string& bytes) {
    pipe_.Push(bytes, now_);
    return Drain();
  }

  absl::Time now_ = absl::UnixEpoch();
  FaultPipe pipe_{7};
};

TEST_F(FaultPipeTest, PassesBytesAndTheEnd) {
  EXPECT_EQ(pipe_.Next(now_), absl::InfiniteFuture());
  pipe_.Push("ab", now_);
  pipe_.PushEnd();
  EXPECT_FALSE(pipe_.Ended());
  EXPECT_EQ(pipe_.Next(now_), now_);
  pipe_.Pop(1, now_);
  EXPECT_EQ(Drain(), "b");
  EXPECT_TRUE(pipe_.Ended());
  EXPECT_EQ(pipe_.counters().forwarded_bytes, 2);
}

TEST_F(FaultPipeTest, BlackholeLosesBytesAndLaterOnes) {
  EXPECT_EQ(Through("kept"), "kept");
  pipe_.SetRule({.kind = Kind::kBlackhole});
  EXPECT_EQ(Through("lost"), "");
  pipe_.SetRule({});
  EXPECT_EQ(Through("too"), "") << "bytes inside a TCP stream cannot be missing";
  pipe_.PushEnd();
  EXPECT_FALSE(pipe_.Ended());
  EXPECT_EQ(pipe_.counters().lost_bytes, 7);
}

TEST_F(FaultPipeTest, BlackholeThatLostNothingHeals) {
  pipe_.SetRule({.kind = Kind::kBlackhole});
  pipe_.SetRule({});
  EXPECT_EQ(Through("all"), "all");
}

TEST_F(FaultPipeTest, StallKeepsBytesAndTheEndForLater) {
  pipe_.SetRule({.kind = Kind::kStall});
  EXPECT_EQ(Through("late"), "");
  pipe_.PushEnd();
  EXPECT_FALSE(pipe_.Ended());
  EXPECT_EQ(pipe_.Next(now_), absl::InfiniteFuture());
  pipe_.SetRule({});
  EXPECT_EQ(Drain(), "late");
  EXPECT_TRUE(pipe_.Ended());
}

TEST_F(FaultPipeTest, QueueIsBounded) {
  pipe_.SetRule({.kind = Kind::kStall});
  pipe_.Push(std::string(FaultPipe::kMaxQueuedBytes, 'x'), now_);
  EXPECT_FALSE(pipe_.CanTake());
  pipe_.SetRule({});
  Drain();
  EXPECT_TRUE(pipe_.CanTake());
}

TEST_F(FaultPipeTest, DelayKeepsOrderAndIsAFunctionOfTheSeed) {
  const auto due = [](uint64_t seed) {
    FaultPipe pipe(seed);
    pipe.SetRule({.kind = Kind::kDelay, .delay = absl::Milliseconds(75), .jitter = absl::Milliseconds(50)});
    absl::Time now = absl::UnixEpoch();
    std::vector<int64_t> times;
    for (int i = 0; i < 50; ++i) pipe.Push(std::string(1, static_cast<char>(i)), now);
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(pipe.Ready(pipe.Next(now) - absl::Nanoseconds(1)).empty() || pipe.Next(now) == now);
      now = pipe.Next(now);
      EXPECT_EQ(pipe.Ready(now), std::string(1, static_cast<char>(i)));
      pipe.Pop(1, now);
      times.push_back(absl::ToUnixMillis(now));
    }
    return times;
  };
  const std::vector<int64_t> times = due(7);
  EXPECT_GE(times.front(), 75);
  EXPECT_LE(times.back(), 125);
  EXPECT_LT(times.front(), times.back());
  EXPECT_EQ(due(7), times);
  EXPECT_NE(due(8), times);
}

TEST_F(FaultPipeTest, ThrottleLetsThroughSoManyBytesASecond) {
  pipe_.SetRule({.kind = Kind::kThrottle, .bytes_per_second = 10'000});
  pipe_.Push(std::string(5'000, 'x'), now_);
  const absl::Time start = now_;
  size_t bytes = 0;
  while (bytes < 5'000) {
    bytes += Drain().size();
    if (bytes < 5'000) now_ = pipe_.Next(now_);
  }
  EXPECT_GE(now_ - start, absl::Milliseconds(450));
  EXPECT_LE(now_ - start, absl::Milliseconds(510));
}

TEST_F(FaultPipeTest, TruncateCutsAtTheByte) {
  Through("before");
  pipe_.SetRule({.kind = Kind::kTruncate, .at_byte = 5});
  EXPECT_EQ(Through("abc"), "abc");
  EXPECT_FALSE(pipe_.Cut());
  pipe_.Push("defg", now_);
  EXPECT_FALSE(pipe_.Cut()) << "the last bytes are not out yet";
  EXPECT_EQ(Drain(), "de");
  EXPECT_TRUE(pipe_.Cut());
  EXPECT_EQ(Through("h"), "");
  EXPECT_EQ(pipe_.counters().truncations, 1);
}

TEST_F(FaultPipeTest, FlipChangesOneBitOnce) {
  pipe_.SetRule({.kind = Kind::kFlip, .at_byte = 4, .bit = 5});
  EXPECT_EQ(Through("aaa"), "aaa");
  EXPECT_FALSE(pipe_.fired());
  EXPECT_EQ(Through("aaa"), "aAa");
  EXPECT_TRUE(pipe_.fired());
  EXPECT_EQ(Through("aaaaaaaaaa"), "aaaaaaaaaa");
  EXPECT_EQ(pipe_.counters().flipped_bits, 1);
}

}  // namespace
}  // namespace paramd
