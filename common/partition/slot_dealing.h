// How many slots each worker gets: equal parts, or parts in proportion to how fast the workers are. Pure; thread safe.
//
//   std::vector<SlotRange> ranges = DealSlotsBySpeed(64, {1.0, 0.25});       // {0, 52}, {52, 12}
//   if (StepSeconds(present, seconds) > 1.2 * StepSeconds(ranges, seconds)) ...   // it is worth a change
#ifndef PARAMD_COMMON_PARTITION_SLOT_DEALING_H_
#define PARAMD_COMMON_PARTITION_SLOT_DEALING_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/partition/chunk_map.h"

namespace paramd {

// Contiguous ranges over as many workers as there are speeds (slots per second, or in any unit; all > 0), at least one
// slot each, such that the slowest worker is done as early as possible. 1 <= workers <= slots. Ties go to the lower
// index: the same input gives the same ranges.
std::vector<SlotRange> DealSlotsBySpeed(uint32_t slots, absl::Span<const double> speeds);

// How long a step takes in which each worker computes its range: the longest of their times.
double StepSeconds(absl::Span<const SlotRange> ranges, absl::Span<const double> speeds);

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_SLOT_DEALING_H_
