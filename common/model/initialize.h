// Initial weights as a pure function of (seed, parameter index, element index): any part of the arena can be filled
// anywhere, in any order, with the same bits. Random numbers: Philox4x32-10 (common/base/philox.h).
#ifndef PARAMD_COMMON_MODEL_INITIALIZE_H_
#define PARAMD_COMMON_MODEL_INITIALIZE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "common/partition/arena_plan.h"

namespace paramd {

// Fills `out` with the initial values of arena elements [first_element, first_element + out.size()); padding gets 0.
void InitializeArenaRange(const ArenaPlan& plan, uint64_t seed, int64_t first_element, absl::Span<float> out);

}  // namespace paramd

#endif  // PARAMD_COMMON_MODEL_INITIALIZE_H_
