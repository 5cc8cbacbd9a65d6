#include "server/coordinator/trace_collector.h"

#include <set>

#include "gtest/gtest.h"

namespace paramd {
namespace {

const NodeRef kWorker0 = {v1::NODE_ROLE_WORKER, "w0", 1};
const NodeRef kWorker1 = {v1::NODE_ROLE_WORKER, "w1", 1};
const NodeRef kServer = {v1::NODE_ROLE_SERVER, "s0", 1};

// One span per step of [first, last].
v1::TraceReport Report(uint64_t first, uint64_t last, uint64_t trace = 7) {
  v1::TraceReport report;
  report.set_trace(trace);
  for (uint64_t step = last + 1; step-- > first;) {  // Not in order.
    v1::TraceSpan& span = *report.add_spans();
    span.set_node_id("somebody else");
    span.set_lane("compute");
    span.set_name("forward");
    span.set_step(step);
    span.set_start_us(static_cast<int64_t>(1000 + step * 10));
    span.set_duration_us(5);
  }
  return report;
}

TraceCollector MakeCollector(bool align, uint32_t steps = 3) {
  return TraceCollector({.trace = 7, .steps = steps, .nodes = {kWorker0, kWorker1, kServer}, .align = align});
}

std::set<uint64_t> StepsOf(const v1::TraceJobResponse& response, const std::string& node) {
  std::set<uint64_t> steps;
  for (const v1::TraceSpan& span : response.spans()) {
    if (span.node_id() == node) steps.insert(span.step());
  }
  return steps;
}

using Steps = std::set<uint64_t>;

TEST(TraceCollectorTest, CompleteWhenAllHaveAnsweredOnce) {
  TraceCollector collector = MakeCollector(true);
  EXPECT_EQ(collector.steps_to_record(), 4u);
  EXPECT_EQ(collector.Missing(), "worker w0, worker w1, server s0");
  EXPECT_FALSE(collector.Add(kWorker0, Report(1, 4, /*trace=*/6))) << "of another trace";
  EXPECT_FALSE(collector.Add({v1::NODE_ROLE_WORKER, "w0", 2}, Report(1, 4))) << "another incarnation";
  EXPECT_TRUE(collector.awaits(kWorker0));
  EXPECT_TRUE(collector.Add(kWorker0, Report(1, 4)));
  EXPECT_FALSE(collector.awaits(kWorker0));
  EXPECT_FALSE(collector.Add(kWorker0, Report(1, 4))) << "repeated";
  EXPECT_TRUE(collector.Add(kWorker1, Report(1, 4)));
  EXPECT_FALSE(collector.complete());
  EXPECT_EQ(collector.Missing(), "server s0");
  EXPECT_TRUE(collector.Add(kServer, Report(1, 4)));
  EXPECT_TRUE(collector.complete());
}

TEST(TraceCollectorTest, SparesTheStepsThatGoByMeanwhile) {
  const auto spare = [](uint64_t step, uint64_t tokens, double tokens_per_second) {
    v1::JobProgress progress;
    progress.set_step(step);
    progress.set_tokens(tokens);
    progress.set_tokens_per_second(tokens_per_second);
    return SpareTraceSteps(progress);
  };
  EXPECT_EQ(spare(0, 0, 0), 1u) << "nothing is known";
  EXPECT_EQ(spare(5, 500, 50), 1u) << "two seconds a step";
  EXPECT_EQ(spare(100, 1000, 500), 5u) << "50 steps a second";
  EXPECT_EQ(spare(1000, 1000, 1000), 16u) << "1000 steps a second";
  TraceCollector collector({.trace = 7, .steps = 3, .nodes = {kWorker0}, .align = true, .spare_steps = 9});
  EXPECT_EQ(collector.steps_to_record(), 12u);
  EXPECT_TRUE(collector.Add(kWorker0, Report(5, 16)));
  EXPECT_EQ(StepsOf(collector.TakeResponse(), "w0"), (Steps{5, 6, 7}));
}

TEST(TraceCollectorTest, KeepsTheStepsThatAllHave) {
  struct Case {
    const char* name;
    v1::TraceReport worker0, worker1, server;
    Steps expected;
    bool truncated;
  };
  const Case cases[] = {
      {"the same steps", Report(5, 8), Report(5, 8), Report(5, 8), {5, 6, 7}, false},
      {"the server began a step later", Report(5, 8), Report(5, 8), Report(6, 9), {6, 7, 8}, false},
      {"two steps apart", Report(5, 8), Report(7, 10), Report(6, 9), {7, 8}, true},
      {"the job ended", Report(18, 19), Report(18, 19), Report(18, 19), {18, 19}, true},
      {"a server without chunks", Report(5, 8), Report(5, 8), Report(1, 0), {5, 6, 7}, false},
      {"a worker without steps", Report(5, 8), Report(1, 0), Report(5, 8), {5, 6, 7}, true},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    TraceCollector collector = MakeCollector(true);
    ASSERT_TRUE(collector.Add(kWorker0, test.worker0));
    ASSERT_TRUE(collector.Add(kWorker1, test.worker1));
    ASSERT_TRUE(collector.Add(kServer, test.server));
    const v1::TraceJobResponse response = collector.TakeResponse();
    EXPECT_EQ(StepsOf(response, "w0"), test.expected);
    EXPECT_EQ(StepsOf(response, "s0"), test.server.spans().empty() ? Steps() : test.expected);
    EXPECT_EQ(response.truncated(), test.truncated);
  }
}

TEST(TraceCollectorTest, KeepsEverythingWhenNoStepIsCommonOrNothingIsAligned) {
  for (const bool align : {true, false}) {
    SCOPED_TRACE(align);
    TraceCollector collector = MakeCollector(align, /*steps=*/2);
    EXPECT_EQ(collector.steps_to_record(), align ? 3u : 2u);
    ASSERT_TRUE(collector.Add(kWorker0, Report(1, 2)));
    ASSERT_TRUE(collector.Add(kWorker1, Report(100, 101)));
    ASSERT_TRUE(collector.Add(kServer, Report(50, 51)));
    const v1::TraceJobResponse response = collector.TakeResponse();
    EXPECT_EQ(StepsOf(response, "w0"), (Steps{1, 2}));
    EXPECT_EQ(StepsOf(response, "w1"), (Steps{100, 101}));
    EXPECT_EQ(StepsOf(response, "s0"), (Steps{50, 51}));
    EXPECT_FALSE(response.truncated());
  }
}

TEST(TraceCollectorTest, SpansComeByNodeAndStartUnderTheNodesOwnName) {
  TraceCollector collector = MakeCollector(false);
  ASSERT_TRUE(collector.Add(kServer, Report(0, 2)));
  ASSERT_TRUE(collector.Add(kWorker0, Report(0, 2)));
  const v1::TraceJobResponse response = collector.TakeResponse();
  ASSERT_EQ(response.spans_size(), 6);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(response.spans(i).node_id(), i < 3 ? "w0" : "s0");
    EXPECT_EQ(response.spans(i).step(), static_cast<uint64_t>(i % 3));
  }
  EXPECT_TRUE(response.truncated()) << "worker w1 is missing";
}

TEST(TraceCollectorTest, OddSpansAreDropped) {
  v1::TraceReport report = Report(0, 3);
  report.mutable_spans(0)->set_duration_us(-1);
  report.mutable_spans(1)->set_start_us(INT64_MAX);
  report.mutable_spans(2)->set_lane(std::string(65, 'x'));
  TraceCollector collector = MakeCollector(false);
  ASSERT_TRUE(collector.Add(kWorker0, report));
  const v1::TraceJobResponse response = collector.TakeResponse();
  ASSERT_EQ(response.spans_size(), 1);
  EXPECT_EQ(response.spans(0).step(), 0u);
}

TEST(TraceCollectorTest, TheResponseIsBounded) {
  TraceCollector collector(
      {.trace = 7, .steps = 1000, .nodes = {kWorker0, kServer}, .align = false, .max_bytes = 2000});
  ASSERT_TRUE(collector.Add(kWorker0, Report(0, 999)));
  ASSERT_TRUE(collector.Add(kServer, Report(0, 1)));
  const v1::TraceJobResponse response = collector.TakeResponse();
  EXPECT_TRUE(response.truncated());
  EXPECT_LE(response.ByteSizeLong(), 2000u);
  EXPECT_EQ(StepsOf(response, "s0"), (Steps{0, 1})) << "a node's flood leaves the others their share";
}

TEST(TraceCollectorTest, ANodeThatDroppedSpansTruncatesTheTrace) {
  v1::TraceReport report = Report(0, 3);
  report.set_truncated(true);
  TraceCollector collector({.trace = 7, .steps = 3, .nodes = {kServer}});
  EXPECT_FALSE(collector.has_spans());
  ASSERT_TRUE(collector.Add(kServer, report));
  EXPECT_TRUE(collector.has_spans());
  EXPECT_TRUE(collector.TakeResponse().truncated());
}

}  // namespace
}  // namespace paramd
