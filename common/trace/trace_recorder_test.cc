#include "common/trace/trace_recorder.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

// Takes the traces of a recorder.
struct Taken {
  std::vector<Trace> traces;
  TraceRecorder::Done Take() {
    return [this](Trace trace) { traces.push_back(std::move(trace)); };
  }
};

TraceEntry Entry(uint64_t step, int64_t start_ns = 10, const char* name = "apply") {
  return {.lane = {"owner", 1}, .name = name, .start_ns = start_ns, .end_ns = start_ns + 5, .step = step, .chunk = 3};
}

std::vector<uint64_t> StepsOf(const Trace& trace) {
  std::vector<uint64_t> steps;
  for (const TraceEntry& entry : trace.entries) steps.push_back(entry.step);
  return steps;
}

TEST(TraceRecorderTest, RecordsTheNextStepsAndThenReports) {
  TraceRecorder recorder;
  Taken taken;
  recorder.Record(Entry(4));
  recorder.Arm({.id = 9, .steps = 2}, taken.Take());
  EXPECT_FALSE(recorder.on());
  recorder.Record(Entry(4));  // Step 4 has begun before: not one of the next.
  recorder.EndStep(4);
  EXPECT_TRUE(taken.traces.empty());
  for (uint64_t step = 5; step < 9; ++step) {
    recorder.BeginStep(step);
    recorder.Record(Entry(4));
    recorder.Record(Entry(step, 1000 - static_cast<int64_t>(step)));
    recorder.EndStep(step);
    EXPECT_EQ(recorder.on(), step == 5);
  }
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_EQ(taken.traces[0].id, 9u);
  EXPECT_FALSE(taken.traces[0].truncated);
  EXPECT_EQ(StepsOf(taken.traces[0]), (std::vector<uint64_t>{6, 5})) << "ordered by start";
  EXPECT_STREQ(taken.traces[0].entries[0].name, "apply");
  EXPECT_EQ(taken.traces[0].entries[0].chunk, 3);
  EXPECT_NE(taken.traces[0].anchor.unix_offset_ns, 0);
}

TEST(TraceRecorderTest, AStepMayEndAfterTheNextHasBegun) {
  TraceRecorder recorder;
  Taken taken;
  recorder.Arm({.id = 1, .steps = 1}, taken.Take());
  recorder.BeginStep(7);
  recorder.BeginStep(8);
  recorder.Record(Entry(7));
  recorder.Record(Entry(8));
  recorder.EndStep(6);
  EXPECT_TRUE(recorder.on());
  recorder.EndStep(7);
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_EQ(StepsOf(taken.traces[0]), std::vector<uint64_t>{7});
}

TEST(TraceRecorderTest, KeepsTheFirstSpansAndSaysThatThereWereMore) {
  TraceRecorder recorder(/*capacity=*/3);
  Taken taken;
  recorder.Arm({.id = 1, .steps = 1}, taken.Take());
  recorder.BeginStep(0);
  for (int i = 0; i < 5; ++i) recorder.Record(Entry(0, i));
  recorder.EndStep(0);
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_TRUE(taken.traces[0].truncated);
  ASSERT_EQ(taken.traces[0].entries.size(), 3u);
  EXPECT_EQ(taken.traces[0].entries[2].start_ns, 2);
}

TEST(TraceRecorderTest, EndReportsWhatThereIsAndLaterTracesAreEmpty) {
  TraceRecorder recorder;
  Taken taken;
  recorder.Arm({.id = 1, .steps = 3}, taken.Take());
  recorder.BeginStep(0);
  recorder.Record(Entry(0));
  recorder.End();
  recorder.End();
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_EQ(taken.traces[0].entries.size(), 1u);
  EXPECT_FALSE(taken.traces[0].truncated) << "no span was dropped";
  recorder.Arm({.id = 2, .steps = 3}, taken.Take());
  ASSERT_EQ(taken.traces.size(), 2u);
  EXPECT_EQ(taken.traces[1].id, 2u);
  EXPECT_TRUE(taken.traces[1].entries.empty());
  recorder.BeginStep(1);
  EXPECT_FALSE(recorder.on());
}

TEST(TraceRecorderTest, AnArmedTraceThatNeverBeganIsReportedEmpty) {
  Taken taken;
  {
    TraceRecorder recorder;
    recorder.Arm({.id = 1, .steps = 1}, taken.Take());
  }
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_TRUE(taken.traces[0].entries.empty());
}

TEST(TraceRecorderTest, AnotherTraceEndsThePresentOneAndTheSameIsIgnored) {
  TraceRecorder recorder;
  Taken taken;
  Taken repeated;
  recorder.Arm({.id = 1, .steps = 5}, taken.Take());
  recorder.Arm({.id = 1, .steps = 5}, repeated.Take());
  recorder.BeginStep(3);
  recorder.Record(Entry(3));
  recorder.Arm({.id = 1, .steps = 5}, repeated.Take());
  EXPECT_TRUE(taken.traces.empty());
  recorder.Arm({.id = 2, .steps = 1}, taken.Take());
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_EQ(taken.traces[0].id, 1u);
  EXPECT_EQ(taken.traces[0].entries.size(), 1u);
  recorder.BeginStep(4);
  recorder.EndStep(4);
  ASSERT_EQ(taken.traces.size(), 2u);
  EXPECT_EQ(taken.traces[1].id, 2u);
  EXPECT_TRUE(taken.traces[1].entries.empty());
  EXPECT_TRUE(repeated.traces.empty());
}

TEST(TraceRecorderTest, AnyStepTakesAllUntilComplete) {
  TraceRecorder recorder;
  Taken taken;
  recorder.Complete();
  recorder.Arm({.id = 1, .steps = 1, .any_step = true}, taken.Take());
  recorder.Complete();
  recorder.BeginStep(10);
  for (uint64_t step : {2, 10, 99}) recorder.Record(Entry(step, static_cast<int64_t>(step)));
  recorder.EndStep(1000);
  EXPECT_TRUE(taken.traces.empty());
  recorder.Complete();
  ASSERT_EQ(taken.traces.size(), 1u);
  EXPECT_FALSE(taken.traces[0].truncated);
  EXPECT_EQ(StepsOf(taken.traces[0]), (std::vector<uint64_t>{2, 10, 99}));
}

TEST(TraceRecorderTest, AScopeIsASpanWithItsLastName) {
  TraceRecorder recorder;
  Taken taken;
  { TraceScope scope(&recorder, {"owner", 0}, "sum", 0); }
  { TraceScope scope(nullptr, {"owner", 0}, "sum", 0); }
  recorder.Arm({.id = 1, .steps = 1}, taken.Take());
  recorder.BeginStep(0);
  const int64_t before = TraceClockNanos();
  {
    TraceScope scope(&recorder, {"owner", 4}, "sum", 0, 6);
    scope.Rename("apply");
  }
  recorder.EndStep(0);
  ASSERT_EQ(taken.traces.size(), 1u);
  ASSERT_EQ(taken.traces[0].entries.size(), 1u);
  const TraceEntry& entry = taken.traces[0].entries[0];
  EXPECT_STREQ(entry.name, "apply");
  EXPECT_STREQ(entry.lane.text, "owner");
  EXPECT_EQ(entry.lane.index, 4);
  EXPECT_EQ(entry.chunk, 6);
  EXPECT_GE(entry.start_ns, before);
  EXPECT_GE(entry.end_ns, entry.start_ns);
}

// Threads record all the time while traces begin, end and replace each other. Every span that comes out must be whole.
TEST(TraceRecorderTest, SpansOfManyThreadsComeOutWhole) {
  constexpr int kThreads = 3;
  constexpr int kTraces = 90;
  TraceRecorder recorder(/*capacity=*/64);
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&recorder, &stop, t] {
      for (int64_t i = 1; !stop; ++i) {
        recorder.Record({.lane = {"t", t},
                         .name = "x",
                         .start_ns = i,
                         .end_ns = i + t,
                         .step = static_cast<uint64_t>(i),
                         .chunk = static_cast<int>(i)});
      }
    });
  }
  Taken taken;
  for (int i = 1; i <= kTraces; ++i) {
    recorder.Arm({.id = static_cast<uint64_t>(i), .steps = 1, .any_step = true}, taken.Take());
    recorder.BeginStep(0);
    std::this_thread::yield();
    if (i % 3 != 0) recorder.Complete();  // Else the next one ends it.
  }
  recorder.End();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(taken.traces.size(), static_cast<size_t>(kTraces));
  size_t spans = 0;
  for (const Trace& trace : taken.traces) {
    EXPECT_LE(trace.entries.size(), 64u);
    spans += trace.entries.size();
    for (const TraceEntry& entry : trace.entries) {
      EXPECT_STREQ(entry.name, "x");
      EXPECT_EQ(entry.end_ns, entry.start_ns + entry.lane.index);
      EXPECT_EQ(entry.step, static_cast<uint64_t>(entry.start_ns));
    }
  }
  EXPECT_GT(spans, 0u);
}

}  // namespace
}  // namespace paramd
