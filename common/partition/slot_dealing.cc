#include "common/partition/slot_dealing.h"

#include <algorithm>

namespace paramd {

std::vector<SlotRange> DealSlotsBySpeed(uint32_t slots, absl::Span<const double> speeds) {
  std::vector<SlotRange> ranges(speeds.size(), SlotRange{.count = 1});
  // One by one to whoever would be done with it first: no other deal has an earlier end.
  for (uint32_t left = slots - static_cast<uint32_t>(speeds.size()); left > 0; --left) {
    size_t best = 0;
    for (size_t i = 1; i < speeds.size(); ++i) {
      if ((ranges[i].count + 1) * speeds[best] < (ranges[best].count + 1) * speeds[i]) best = i;
    }
    ++ranges[best].count;
  }
  uint32_t next = 0;
  for (SlotRange& range : ranges) {
    range.first = next;
    next += range.count;
  }
  return ranges;
}

double StepSeconds(absl::Span<const SlotRange> ranges, absl::Span<const double> speeds) {
  double longest = 0;
  for (size_t i = 0; i < ranges.size(); ++i) longest = std::max(longest, ranges[i].count / speeds[i]);
  return longest;
}

}  // namespace paramd
