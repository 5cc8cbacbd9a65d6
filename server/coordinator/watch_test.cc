#include "server/coordinator/watch.h"

#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

class WatchCursorTest : public testing::Test {
 protected:
  // All messages there are now: event sequences, or "job".
  std::vector<std::string> Drain(WatchCursor& cursor) {
    std::vector<std::string> out;
    while (true) {
      const auto next = cursor.Next(job_, version_, [this](uint64_t after) { return Read(after); });
      EXPECT_OK(next);
      if (!next.ok() || !next->has_value()) return out;
      out.push_back((*next)->has_job() ? "job" : std::to_string((*next)->event().sequence()));
    }
  }
  // Pages of two, of events [first_kept_, last].
  absl::StatusOr<std::vector<v1::JobEvent>> Read(uint64_t after) {
    std::vector<v1::JobEvent> events;
    for (uint64_t s = std::max(after + 1, first_kept_); s <= job_.last_event_sequence() && events.size() < 2; ++s) {
      events.emplace_back().set_sequence(s);
    }
    return events;
  }

  v1::Job job_;
  uint64_t version_ = 1;
  uint64_t first_kept_ = 1;
};

TEST_F(WatchCursorTest, SnapshotThenEventsThenNews) {
  job_.set_state(v1::JOB_STATE_RUNNING);
  job_.set_last_event_sequence(5);
  WatchCursor cursor(0);
  EXPECT_THAT(Drain(cursor), testing::ElementsAre("job", "1", "2", "3", "4", "5"));
  EXPECT_THAT(Drain(cursor), testing::IsEmpty());
  version_ = 9;  // Many changes are one snapshot.
  EXPECT_THAT(Drain(cursor), testing::ElementsAre("job"));
  job_.set_last_event_sequence(6);
  EXPECT_THAT(Drain(cursor), testing::ElementsAre("6"));
  EXPECT_FALSE(cursor.done());
  job_.set_state(v1::JOB_STATE_FAILED);
  job_.set_last_event_sequence(7);
  EXPECT_THAT(Drain(cursor), testing::ElementsAre("7", "job"));
  EXPECT_TRUE(cursor.done());
}

TEST_F(WatchCursorTest, ResumesAndSkipsEventsThatAreNoMoreKept) {
  job_.set_state(v1::JOB_STATE_SUCCEEDED);
  job_.set_last_event_sequence(5);
  first_kept_ = 4;
  WatchCursor early(1);
  EXPECT_THAT(Drain(early), testing::ElementsAre("job", "4", "5", "job"));
  first_kept_ = 100;
  WatchCursor none(1);
  EXPECT_THAT(Drain(none), testing::ElementsAre("job", "job"));
  WatchCursor beyond(50);
  EXPECT_THAT(Drain(beyond), testing::ElementsAre("job", "job"));
  EXPECT_TRUE(beyond.done());
}

TEST_F(WatchCursorTest, PassesTheStoresErrorOn) {
  job_.set_last_event_sequence(1);
  WatchCursor cursor(0);
  const auto fail = [](uint64_t) -> absl::StatusOr<std::vector<v1::JobEvent>> { return absl::DataLossError("disk"); };
  ASSERT_OK(cursor.Next(job_, 1, fail));
  EXPECT_THAT(cursor.Next(job_, 1, fail), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace paramd
