// Which server holds which chunk, and which worker computes which slots. Pure; thread safe.
#ifndef PARAMD_COMMON_PARTITION_CHUNK_MAP_H_
#define PARAMD_COMMON_PARTITION_CHUNK_MAP_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace paramd {

// Deals chunks of `chunk_bytes[i]` bytes to servers with `free_bytes[j]` room, so that the loads in bytes are as equal
// as a greedy, largest-first deal makes them; ties go to the lower server index. Returns the server of each chunk.
// kResourceExhausted when they do not fit, with needed and available bytes in the message.
absl::StatusOr<std::vector<uint32_t>> PlaceChunks(absl::Span<const int64_t> chunk_bytes,
                                                  absl::Span<const int64_t> free_bytes);

struct SlotRange {
  uint32_t first = 0;
  uint32_t count = 0;
};

// Contiguous ranges of `slots` over `workers` (1 <= workers <= slots): worker w gets [w*slots/workers,
// (w+1)*slots/workers).
std::vector<SlotRange> DealSlots(uint32_t slots, uint32_t workers);

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_CHUNK_MAP_H_
