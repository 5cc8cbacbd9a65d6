#include "client/chrome_trace.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <tuple>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

using OrderedJson = nlohmann::ordered_json;

// The order of a node's lanes from top to bottom: well-known ones first, "owner 2" before "owner 10".
using LaneOrder = std::tuple<int, std::string, uint64_t>;

LaneOrder OrderOf(const std::string& lane) {
  const size_t space = lane.rfind(' ');
  uint64_t index = 0;
  std::string text = lane;
  if (space != std::string::npos && absl::SimpleAtoi(absl::string_view(lane).substr(space + 1), &index)) {
    text = lane.substr(0, space);
  }
  static constexpr const char* kKnown[] = {"compute", "wire", "owner", "norm"};
  const auto* known = std::find(std::begin(kKnown), std::end(kKnown), text);
  return {static_cast<int>(known - std::begin(kKnown)), text, index};
}

// Writes the events, one per line.
class Events {
 public:
  explicit Events(std::ostream& out) : out_(out) {}

  void Add(const OrderedJson& event) {
    // Names come from the network: what is not UTF-8 must not throw.
    out_ << (first_ ? "\n" : ",\n")
         << event.dump(-1, ' ', /*ensure_ascii=*/false, OrderedJson::error_handler_t::replace);
    first_ = false;
  }
  void Name(const char* kind, int pid, int tid, const std::string& name) {
    Add({{"ph", "M"}, {"pid", pid}, {"tid", tid}, {"name", kind}, {"args", {{"name", name}}}});
  }
  void Sort(const char* kind, int pid, int tid, int index) {
    Add({{"ph", "M"}, {"pid", pid}, {"tid", tid}, {"name", kind}, {"args", {{"sort_index", index}}}});
  }

 private:
  std::ostream& out_;
  bool first_ = true;
};

// The spans of one lane dealt to rows without overlaps: rows[i] is that of spans[i].
struct Rows {
  std::vector<int> row;
  int count = 0;
};

Rows DealRows(const std::vector<const v1::TraceSpan*>& spans) {
  Rows rows;
  std::vector<int64_t> busy_until;
  for (const v1::TraceSpan* span : spans) {
    size_t row = 0;
    while (row < busy_until.size() && busy_until[row] > span->start_us()) ++row;
    if (row == busy_until.size()) busy_until.push_back(0);
    busy_until[row] = span->start_us() + span->duration_us();
    rows.row.push_back(static_cast<int>(row));
  }
  rows.count = static_cast<int>(busy_until.size());
  return rows;
}

void AddSpan(const v1::TraceSpan& span, int64_t origin_us, int pid, int tid, Events& events) {
  OrderedJson arguments = {{"step", span.step()}};
  if (span.has_chunk()) arguments["chunk"] = span.chunk();
  events.Add({{"ph", "X"},
              {"pid", pid},
              {"tid", tid},
              {"ts", span.start_us() - origin_us},
              {"dur", span.duration_us()},
              {"name", span.name()},
              {"args", arguments}});
}

void AddNode(const std::string& node, int pid, const std::vector<const v1::TraceSpan*>& spans, int64_t origin_us,
             Events& events) {
  events.Name("process_name", pid, 0, node);
  events.Sort("process_sort_index", pid, 0, pid);
  std::map<LaneOrder, std::vector<const v1::TraceSpan*>> lanes;
  for (const v1::TraceSpan* span : spans) lanes[OrderOf(span->lane())].push_back(span);
  int next_tid = 1;
  for (auto& [order, lane] : lanes) {
    std::stable_sort(lane.begin(), lane.end(),
                     [](const auto* a, const auto* b) { return a->start_us() < b->start_us(); });
    const Rows rows = DealRows(lane);
    for (int row = 0; row < rows.count; ++row) {
      const std::string& name = lane.front()->lane();
      events.Name("thread_name", pid, next_tid + row, rows.count == 1 ? name : absl::StrCat(name, " ", row + 1));
      events.Sort("thread_sort_index", pid, next_tid + row, next_tid + row);
    }
    for (size_t i = 0; i < lane.size(); ++i) AddSpan(*lane[i], origin_us, pid, next_tid + rows.row[i], events);
    next_tid += rows.count;
  }
}

}  // namespace

void WriteChromeTrace(const std::string& job_id, const v1::TraceJobResponse& trace, std::ostream& out) {
  std::vector<std::string> nodes;  // In the order of the response.
  std::map<std::string, std::vector<const v1::TraceSpan*>> spans;
  int64_t origin_us = trace.spans().empty() ? 0 : trace.spans(0).start_us();
  for (const v1::TraceSpan& span : trace.spans()) {
    origin_us = std::min<int64_t>(origin_us, span.start_us());
    std::vector<const v1::TraceSpan*>& of_node = spans[span.node_id()];
    if (of_node.empty()) nodes.push_back(span.node_id());
    of_node.push_back(&span);
  }
  const OrderedJson about = {
      {"job_id", job_id},
      {"start_time", absl::FormatTime(absl::RFC3339_full, absl::FromUnixMicros(origin_us), absl::UTCTimeZone())},
      {"truncated", trace.truncated()}};
  out << "{\"displayTimeUnit\":\"ms\",\"otherData\":" << about.dump() << ",\"traceEvents\":[";
  Events events(out);
  for (size_t i = 0; i < nodes.size(); ++i)
    AddNode(nodes[i], static_cast<int>(i) + 1, spans[nodes[i]], origin_us, events);
  out << "\n]}\n" << std::flush;
}

}  // namespace paramd
