// A chunk at one version, on its way to a checkpoint and back: plain values, no behaviour.
#ifndef PARAMD_SERVER_STORE_CHUNK_CAPTURE_H_
#define PARAMD_SERVER_STORE_CHUNK_CAPTURE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "server/store/buffer_pool.h"
#include "server/store/snapshot.h"

namespace paramd {

// Taken from a chunk that goes on: nothing in it changes any more.
struct ChunkCapture {
  uint32_t chunk = 0;
  uint64_t version = 0;
  uint64_t updates = 0;          // Optimizer steps really applied.
  std::vector<uint64_t> clocks;  // By worker: pushes applied (ssp, async: what tells a repeated push). Empty in sync.
  SnapshotPointer weights;
  Buffer state;  // The optimizer's, one run of the chunk's elements per state value.
};

// As read back; what the spans show lives elsewhere.
struct SavedChunk {
  uint64_t version = 0;
  uint64_t updates = 0;
  std::vector<uint64_t> clocks;
  absl::Span<const float> weights;
  absl::Span<const float> state;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_CHUNK_CAPTURE_H_
