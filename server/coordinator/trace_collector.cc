#include "server/coordinator/trace_collector.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"

namespace paramd {
namespace {

constexpr size_t kMaxTextBytes = 64;
constexpr int64_t kPrefixBytes = 6;  // A span's tag and length in the response.

bool Sound(const v1::TraceSpan& span) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max() / 4;
  return span.lane().size() <= kMaxTextBytes && span.name().size() <= kMaxTextBytes && span.start_us() >= 0 &&
         span.duration_us() >= 0 && span.start_us() <= kMax && span.duration_us() <= kMax;
}

}  // namespace

uint32_t SpareTraceSteps(const v1::JobProgress& progress) {
  constexpr double kMost = 16;
  constexpr double kSecondsApart = 0.1;  // Of nodes on busy machines.
  if (progress.tokens() == 0 || progress.tokens_per_second() <= 0) return 1;
  const double seconds = static_cast<double>(progress.tokens()) / progress.tokens_per_second();
  const double steps = static_cast<double>(progress.step()) / seconds * kSecondsApart;
  return static_cast<uint32_t>(std::clamp(std::ceil(steps), 1.0, kMost));
}

TraceCollector::TraceCollector(TraceCollectorOptions options) : options_(std::move(options)) {
  for (const NodeRef& node : options_.nodes) parts_.push_back({.node = node});
}

TraceCollector::Part* TraceCollector::Find(const NodeRef& node) {
  const auto found = std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) { return part.node == node; });
  return found == parts_.end() ? nullptr : &*found;
}

bool TraceCollector::awaits(const NodeRef& node) const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [&](const Part& part) { return part.node == node && !part.answered; });
}

bool TraceCollector::Add(const NodeRef& node, const v1::TraceReport& report) {
  Part* part = Find(node);
  if (part == nullptr || part->answered || report.trace() != options_.trace) return false;
  part->answered = true;
  part->truncated = report.truncated();
  int64_t bytes = 0;
  const int64_t share = options_.max_bytes / static_cast<int64_t>(parts_.size());
  for (const v1::TraceSpan& reported : report.spans()) {
    if (!Sound(reported)) continue;
    v1::TraceSpan span = reported;
    span.set_node_id(node.node_id);
    bytes += static_cast<int64_t>(span.ByteSizeLong()) + kPrefixBytes;
    if (bytes > share) {
      part->truncated = true;
      break;
    }
    part->spans.push_back(std::move(span));
  }
  std::stable_sort(part->spans.begin(), part->spans.end(),
                   [](const v1::TraceSpan& a, const v1::TraceSpan& b) { return a.start_us() < b.start_us(); });
  return true;
}

bool TraceCollector::complete() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.answered; });
}

std::string TraceCollector::Missing() const {
  std::vector<std::string> names;
  for (const Part& part : parts_) {
    if (!part.answered) names.push_back(Describe(part.node));
  }
  return absl::StrJoin(names, ", ");
}

bool TraceCollector::has_spans() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return !part.spans.empty(); });
}

TraceCollector::StepRange TraceCollector::StepsToKeep() const {
  const StepRange all = {.first = 0, .last = std::numeric_limits<uint64_t>::max()};
  if (!options_.align) return all;
  StepRange common = all;
  for (const Part& part : parts_) {
    if (part.spans.empty()) continue;  // A server without chunks, or a node that is missing.
    const auto [low, high] =
        std::minmax_element(part.spans.begin(), part.spans.end(),
                            [](const v1::TraceSpan& a, const v1::TraceSpan& b) { return a.step() < b.step(); });
    common.first = std::max<uint64_t>(common.first, low->step());
    common.last = std::min<uint64_t>(common.last, high->step());
  }
  if (common.first > common.last) return all;
  if (common.last - common.first >= options_.steps) common.last = common.first + options_.steps - 1;
  return common;
}

bool TraceCollector::IsShort(const Part& part, const StepRange& keep) const {
  if (part.node.role != v1::NODE_ROLE_WORKER) return false;  // A server may have no chunks and so no steps.
  std::set<uint64_t> steps;
  for (const v1::TraceSpan& span : part.spans) {
    if (keep.Contains(span.step())) steps.insert(span.step());
  }
  return steps.size() < options_.steps;
}

v1::TraceJobResponse TraceCollector::TakeResponse() {
  v1::TraceJobResponse response;
  const StepRange keep = StepsToKeep();
  bool truncated = false;
  for (Part& part : parts_) {
    truncated |= !part.answered || part.truncated || IsShort(part, keep);
    for (v1::TraceSpan& span : part.spans) {
      if (keep.Contains(span.step())) *response.add_spans() = std::move(span);
    }
  }
  response.set_truncated(truncated);
  return response;
}

}  // namespace paramd
