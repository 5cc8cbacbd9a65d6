#include "common/trace/trace_lane.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(TraceLaneTest, SpansLieOneBehindTheOtherAroundInterruptions) {
  TraceRecorder recorder;
  TraceLane lane(&recorder, {"compute"});
  Trace trace;
  recorder.Arm({.id = 1, .steps = 2}, [&](Trace t) { trace = std::move(t); });
  recorder.BeginStep(0);
  lane.Switch("data", 0);
  lane.Switch("forward", 0);
  lane.Interrupt("wait", 2, lane.Now());  // Too short.
  const int64_t since = lane.Now();
  while (TraceClockNanos() - since < TraceLane::kShortNanos) {
  }
  lane.Interrupt("wait", 3, since);
  lane.Switch("backward", 0);
  lane.Stop();
  lane.Interrupt("wait", 4, since);  // Nothing to interrupt.
  recorder.BeginStep(1);
  lane.Switch("data", 1);
  lane.Stop();
  recorder.EndStep(1);
  std::vector<std::string> names;
  int64_t end = 0;
  for (const TraceEntry& entry : trace.entries) {
    names.push_back(entry.name);
    EXPECT_GE(entry.start_ns, end) << entry.name << " overlaps what goes before";
    EXPECT_GT(entry.end_ns, entry.start_ns) << entry.name;
    EXPECT_STREQ(entry.lane.text, "compute");
    EXPECT_EQ(entry.chunk, std::string(entry.name) == "wait" ? 3 : -1);
    end = entry.end_ns;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"data", "forward", "wait", "forward", "backward", "data"}));
}

TEST(TraceLaneTest, WhatWasOpenBeforeTheRecordingIsNotInIt) {
  TraceRecorder recorder;
  TraceLane lane(&recorder, {"compute"});
  Trace trace;
  EXPECT_EQ(lane.Now(), 0);
  lane.Switch("data", 0);
  recorder.Arm({.id = 1, .steps = 1}, [&](Trace t) { trace = std::move(t); });
  recorder.BeginStep(0);
  lane.Interrupt("wait", 0, 1);
  lane.Switch("forward", 0);
  recorder.EndStep(0);
  lane.Switch("data", 1);  // Its span cannot be recorded any more, and must not be taken up by a later trace.
  recorder.Arm({.id = 2, .steps = 1}, [&](Trace t) { trace = std::move(t); });
  recorder.BeginStep(1);
  lane.Switch("forward", 1);
  lane.Stop();
  recorder.EndStep(1);
  ASSERT_EQ(trace.entries.size(), 1u);
  EXPECT_STREQ(trace.entries[0].name, "forward");
  EXPECT_EQ(trace.entries[0].step, 1u);
}

TEST(TraceLaneTest, WithoutARecorderNothingHappens) {
  TraceLane lane(nullptr, {"compute"});
  EXPECT_FALSE(lane.on());
  lane.Switch("data", 0);
  lane.Interrupt("wait", 0, 1);
  lane.Stop();
}

}  // namespace
}  // namespace paramd
