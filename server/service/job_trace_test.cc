#include "server/service/job_trace.h"

#include <optional>
#include <set>
#include <utility>

#include "gtest/gtest.h"

namespace paramd {
namespace {

using SpanSet = std::set<std::pair<int, uint64_t>>;

// A server with chunks 2 and 5 of a job of 100 steps.
class JobTraceTest : public testing::Test {
 protected:
  void Collect(JobTrace& trace, uint64_t steps, uint64_t id = 1) {
    result_.reset();
    trace.Collect({.id = id, .steps = steps}, [this](Trace t) { result_ = std::move(t); });
  }
  // The chunk applies `step`.
  static void Apply(JobTrace& trace, int chunk, uint64_t step) {
    { TraceScope scope(&trace.recorder(), {"owner", 0}, "apply", step, chunk); }
    trace.OnApplied(chunk, step + 1);
  }
  SpanSet Spans() const {
    SpanSet spans;
    for (const TraceEntry& entry : result_->entries) spans.emplace(entry.chunk, entry.step);
    return spans;
  }

  std::optional<Trace> result_;
};

TEST_F(JobTraceTest, RecordsWholeStepsOfAllChunks) {
  JobTrace trace({.chunks = {2, 5}, .steps = 100});
  Apply(trace, 2, 9);
  Collect(trace, 2);
  Apply(trace, 2, 10);
  trace.OnChunk(2, 11);  // A step ahead of chunk 5.
  trace.OnChunk(5, 10);
  Apply(trace, 5, 10);
  for (const uint64_t step : {11, 12}) {
    EXPECT_FALSE(result_.has_value());
    Apply(trace, 2, step);
    Apply(trace, 5, step);
  }
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(Spans(), (SpanSet{{2, 11}, {2, 12}, {5, 11}, {5, 12}}));
  EXPECT_FALSE(trace.recorder().on());
}

TEST_F(JobTraceTest, TheJobsLastStepEndsATrace) {
  JobTrace trace({.chunks = {2}, .steps = 100});
  Collect(trace, 10);
  trace.OnChunk(2, 97);
  for (uint64_t step = 97; step < 100; ++step) Apply(trace, 2, step);
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(Spans(), (SpanSet{{2, 98}, {2, 99}}));
  Collect(trace, 1);
  trace.OnChunk(2, 100);
  ASSERT_TRUE(result_.has_value()) << "nothing comes any more";
  EXPECT_TRUE(result_->entries.empty());
}

TEST_F(JobTraceTest, WithoutChunksOrAfterTheEndTheAnswerIsEmptyAtOnce) {
  JobTrace none({.chunks = {}, .steps = 100});
  Collect(none, 3, /*id=*/8);
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(result_->id, 8u);
  JobTrace ended({.chunks = {2}, .steps = 100});
  Collect(ended, 3, /*id=*/9);
  EXPECT_FALSE(result_.has_value());
  ended.OnChunk(2, 0);
  Apply(ended, 2, 1);
  ended.End();
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(Spans(), (SpanSet{{2, 1}}));
  Collect(ended, 3, /*id=*/10);
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(result_->id, 10u);
}

TEST_F(JobTraceTest, ClocksOfManyWorkersAreRecordedUntilTheSlowestIsThatFar) {
  JobTrace trace({.chunks = {2, 5}, .steps = 100, .synchronous = false});
  Collect(trace, 2);
  trace.OnChunk(2, 10);
  const auto push = [&](int chunk, uint64_t clock, uint64_t slowest) {
    { TraceScope scope(&trace.recorder(), {"owner", 0}, "apply", clock, chunk); }
    trace.OnApplied(chunk, slowest);
  };
  push(2, 40, 12);  // Before it is known that this is the end.
  trace.OnChunk(5, 10);
  push(5, 40, 11);
  push(2, 41, 13);
  EXPECT_FALSE(result_.has_value());
  push(5, 3, 12);
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(Spans(), (SpanSet{{2, 40}, {2, 41}, {5, 3}, {5, 40}}));
}

TEST_F(JobTraceTest, ARepeatedCommandDoesNotDisturb) {
  JobTrace trace({.chunks = {2, 5}, .steps = 100});
  Collect(trace, 1);
  trace.OnChunk(2, 4);
  std::optional<Trace> repeated;
  trace.Collect({.id = 1, .steps = 1}, [&](Trace t) { repeated = std::move(t); });
  for (const int chunk : {5, 2, 5}) trace.OnChunk(chunk, 4);
  for (const uint64_t step : {4, 5}) {
    Apply(trace, 2, step);
    Apply(trace, 5, step);
  }
  ASSERT_TRUE(result_.has_value());
  EXPECT_FALSE(repeated.has_value());
  EXPECT_EQ(Spans(), (SpanSet{{2, 5}, {5, 5}}));
}

}  // namespace
}  // namespace paramd
