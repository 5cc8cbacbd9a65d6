// What the parameter client asks of a server and what it learns from the answer, independent of the encoding.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_PARAMETER_CALL_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_PARAMETER_CALL_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "common/partition/slot_tree.h"

namespace paramd {

// A gradient sum on its way to a server.
struct PushPart {
  uint64_t step = 0;  // The step (sync) or the worker's clock (ssp, async).
  Subtree subtree;    // sync only.
  uint32_t slot_count = 0;
  absl::Span<const float> payload;  // The whole chunk; borrowed until the chunk has been waited for.
  // What the chunk's codec lost of earlier payloads of this subtree: added before encoding and left as what is lost
  // now, within the call that sends. The chunk's size, or empty: losses are forgotten. Ignored where nothing is lost.
  absl::Span<float> residual;
};

// What the wanted weights must contain, and where they go.
struct PullPart {
  uint64_t min_version = 0;
  uint64_t min_clock = 0;
  bool exact_version = false;  // Just min_version; sync only.
  // The chunk's size. Written at any time between the call and the end of the wait for the chunk, by the server when it
  // lies in shared memory; undefined until then.
  absl::Span<float> landing;
};

// One request: a push, a pull, or both.
struct ParameterCall {
  int chunk = 0;
  std::optional<PushPart> push;
  std::optional<PullPart> pull;
};

// Who calls; generation and index change with the job's workers.
struct CallerIdentity {
  std::string job_id;
  uint64_t generation = 0;
  uint32_t worker_index = 0;
  uint64_t worker_incarnation = 0;
};

// Of a chunk's weights, or of its state when nothing was pulled.
struct ChunkVersion {
  uint64_t version = 0;
  uint64_t min_clock = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_PARAMETER_CALL_H_
