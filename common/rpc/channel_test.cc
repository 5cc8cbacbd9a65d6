#include "common/rpc/channel.h"

#include "absl/time/clock.h"
#include "common/base/error.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(BackoffTest, GrowsToTheMaximumWithJitter) {
  const RetryOptions options = {
      .initial_backoff = absl::Milliseconds(100), .max_backoff = absl::Seconds(1), .multiplier = 2};
  Backoff backoff(options, 1);
  const int64_t expected_ms[] = {100, 200, 400, 800, 1000, 1000, 1000};
  for (const int64_t ms : expected_ms) {
    const absl::Duration pause = backoff.Next();
    EXPECT_GE(pause, absl::Milliseconds(ms) * 0.5);
    EXPECT_LT(pause, absl::Milliseconds(ms));
  }
  for (int i = 0; i < 10000; ++i) EXPECT_LT(backoff.Next(), options.max_backoff);
  backoff.Reset();
  EXPECT_LT(backoff.Next(), absl::Milliseconds(100));
}

TEST(BackoffTest, SeedsDiffer) {
  Backoff a({}, 1), b({}, 2), again({}, 1);
  const absl::Duration first = a.Next();
  EXPECT_NE(first, b.Next());
  EXPECT_EQ(first, again.Next());
}

TEST(RetryUnavailableTest, RetriesOnlyUnavailable) {
  const RetryOptions options = {.initial_backoff = absl::Milliseconds(1), .total = absl::Seconds(10)};
  int attempts = 0;
  EXPECT_TRUE(RetryUnavailable(options, [&] {
                return ++attempts < 3 ? absl::UnavailableError("not yet") : absl::OkStatus();
              }).ok());
  EXPECT_EQ(attempts, 3);
  attempts = 0;
  EXPECT_EQ(RetryUnavailable(options, [&] { return ++attempts, absl::InternalError("no"); }).code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(attempts, 1);
}

TEST(RetryUnavailableTest, EndsInTime) {
  const RetryOptions options = {.initial_backoff = absl::Milliseconds(10), .total = absl::Milliseconds(60)};
  const absl::Time start = absl::Now();
  int attempts = 0;
  const absl::Status status = RetryUnavailable(options, [&] { return ++attempts, absl::UnavailableError("down"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "down");
  EXPECT_GE(attempts, 2);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

}  // namespace
}  // namespace paramd
