#include "client/chrome_trace.h"

#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

using nlohmann::json;

constexpr int64_t kStart = 1'700'000'000'000'000;

void AddSpan(v1::TraceJobResponse& trace, const std::string& node, const std::string& lane, int64_t start,
             int64_t duration, const std::string& name = "x") {
  v1::TraceSpan& span = *trace.add_spans();
  span.set_node_id(node);
  span.set_lane(lane);
  span.set_name(name);
  span.set_start_us(kStart + start);
  span.set_duration_us(duration);
  span.set_step(7);
}

json Written(const v1::TraceJobResponse& trace) {
  std::ostringstream out;
  WriteChromeTrace("a-1", trace, out);
  return json::parse(out.str());
}

// Of metadata of `kind`, by (pid, tid).
std::map<std::pair<int, int>, std::string> Names(const json& written, const std::string& kind) {
  std::map<std::pair<int, int>, std::string> names;
  for (const json& event : written["traceEvents"]) {
    if (event["name"] == kind) names[{event["pid"], event["tid"]}] = event["args"]["name"];
  }
  return names;
}

TEST(ChromeTraceTest, ASpanIsACompleteEventOfItsNodeAndLane) {
  v1::TraceJobResponse trace;
  trace.set_truncated(true);
  AddSpan(trace, "worker-0", "compute", 1500, 300, "forward");
  AddSpan(trace, "server-0", "owner 1", 500, 20, "apply");
  trace.mutable_spans(1)->set_chunk(0);
  const json written = Written(trace);
  EXPECT_EQ(written["displayTimeUnit"], "ms");
  EXPECT_EQ(written["otherData"]["job_id"], "a-1");
  EXPECT_EQ(written["otherData"]["start_time"], "2023-11-14T22:13:20.0005+00:00");
  EXPECT_EQ(written["otherData"]["truncated"], true);
  std::vector<json> spans;
  for (const json& event : written["traceEvents"]) {
    if (event["ph"] == "X") spans.push_back(event);
  }
  ASSERT_EQ(spans.size(), 2u);
  const json worker = {
      {"ph", "X"}, {"pid", 1}, {"tid", 1}, {"ts", 1000}, {"dur", 300}, {"name", "forward"}, {"args", {{"step", 7}}}};
  const json server = {{"ph", "X"},
                       {"pid", 2},
                       {"tid", 1},
                       {"ts", 0},
                       {"dur", 20},
                       {"name", "apply"},
                       {"args", {{"step", 7}, {"chunk", 0}}}};
  EXPECT_EQ(spans[0], worker);
  EXPECT_EQ(spans[1], server);
  using NameMap = std::map<std::pair<int, int>, std::string>;
  EXPECT_EQ(Names(written, "process_name"), (NameMap{{{1, 0}, "worker-0"}, {{2, 0}, "server-0"}}));
  EXPECT_EQ(Names(written, "thread_name"), (NameMap{{{1, 1}, "compute"}, {{2, 1}, "owner 1"}}));
}

TEST(ChromeTraceTest, LanesAreOrderedAndOverlappingSpansAreDealtToRows) {
  v1::TraceJobResponse trace;
  for (const char* lane : {"zebra", "owner 10", "owner 2", "norm", "compute"}) AddSpan(trace, "n", lane, 0, 1);
  // 0..100, 50..60 and 60..70 (which touch), 55..80, 100..101 (touches the first).
  for (const auto& [start, duration] : {std::pair{0, 100}, {50, 10}, {55, 25}, {60, 10}, {100, 1}}) {
    AddSpan(trace, "n", "wire", start, duration);
  }
  const json written = Written(trace);
  std::vector<std::string> lanes;
  for (const auto& [thread, name] : Names(written, "thread_name")) lanes.push_back(name);
  EXPECT_EQ(lanes, (std::vector<std::string>{"compute", "wire 1", "wire 2", "wire 3", "owner 2", "owner 10", "norm",
                                             "zebra"}));
  std::vector<int> rows;
  for (const json& event : written["traceEvents"]) {
    if (event["ph"] == "X" && event["tid"] >= 2 && event["tid"] <= 4) rows.push_back(event["tid"]);
  }
  EXPECT_EQ(rows, (std::vector<int>{2, 3, 4, 3, 2}));
}

TEST(ChromeTraceTest, AnyNameIsWrittenAsJson) {
  v1::TraceJobResponse trace;
  AddSpan(trace, "a\"b\\c\n", "\xff\xfe", 0, 1, "</script>");
  const json written = Written(trace);
  EXPECT_EQ(Names(written, "process_name").at({1, 0}), "a\"b\\c\n");
  EXPECT_EQ(written["traceEvents"].back()["name"], "</script>");
}

TEST(ChromeTraceTest, NoSpansAreAnEmptyTrace) {
  const json written = Written(v1::TraceJobResponse());
  EXPECT_TRUE(written["traceEvents"].is_array());
  EXPECT_TRUE(written["traceEvents"].empty());
}

}  // namespace
}  // namespace paramd
