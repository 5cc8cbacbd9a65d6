// What goes into a chunk and what comes out of it: plain values, no behaviour.
#ifndef PARAMD_SERVER_STORE_CHUNK_REQUEST_H_
#define PARAMD_SERVER_STORE_CHUNK_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/partition/chunk_map.h"
#include "common/partition/slot_tree.h"
#include "common/tensor/payload.h"
#include "proto/parameter.pb.h"
#include "server/store/snapshot.h"

namespace paramd {

class RequestOrigin;

// Names a request among all that are open: the caller's number of the stream it came on and its id on that stream.
struct RequestKey {
  uint64_t stream = 0;
  uint64_t request_id = 0;
  std::shared_ptr<RequestOrigin> origin;  // The caller's, handed back with the answer; the store never looks inside.
  bool operator==(const RequestKey&) const = default;
};

// A decoded ParameterRequest; the fields have its meanings.
struct ChunkRequest {
  RequestKey key;
  uint64_t generation = 0;
  uint32_t worker = 0;
  uint64_t worker_incarnation = 0;
  uint32_t chunk = 0;
  bool push = false;
  bool pull = false;
  uint64_t step = 0;
  Subtree subtree;
  uint32_t slot_count = 0;
  uint64_t min_version = 0;
  bool exact_version = false;
  uint64_t min_clock = 0;
  absl::Time received = absl::InfinitePast();  // Handed back with the answer.
  absl::Time deadline = absl::InfiniteFuture();
  v1::Codec codec = v1::CODEC_FP32;         // Of the payload.
  PayloadView payload;                      // Only needed during the call; may change while it is read.
  v1::Codec answer_codec = v1::CODEC_FP32;  // Of the weights asked for: FP32 (also when unspecified) or BF16.
  // Where the weights go: memory of the client, writable until the request is answered and never read. Empty: the
  // answer's snapshot is all. At least AnswerBytes(answer_codec, elements) bytes of it.
  absl::Span<float> shared_answer;
};

// Bytes of `elements` weights in an answer.
inline size_t AnswerBytes(v1::Codec codec, int64_t elements) {
  return static_cast<size_t>(elements) * (codec == v1::CODEC_BF16 ? sizeof(uint16_t) : sizeof(float));
}

// The answer to one request.
struct Answer {
  RequestKey key;
  absl::Time received = absl::InfinitePast();  // The request's.
  absl::Status status;
  uint32_t chunk = 0;
  bool duplicate = false;
  uint64_t version = 0;
  uint64_t min_clock = 0;
  SnapshotPointer snapshot;  // Of a pull that succeeded; null otherwise.
  // Of the pull: FP32 or BF16.
  v1::Codec answer_codec = v1::CODEC_FP32;
  absl::Span<float> shared_answer;
  // How much of shared_answer holds the weights; 0 unless the pull had one and succeeded.
  size_t shared_answer_bytes = 0;
};

// What a chunk, or a server's chunks together, can still take of a step.
struct OpenStep {
  uint64_t step = 0;
  std::vector<SlotRange> missing;  // Ascending, disjoint.
};

// A chunk's share of a step's squared gradient norm.
struct StepNorm {
  uint64_t step = 0;
  uint32_t chunk = 0;
  double squared_norm = 0;  // Of the averaged gradient.
};

// An optimizer step that was applied or skipped.
struct AppliedStep {
  uint64_t step = 0;  // Global step (sync) or the clock of the push (ssp, async).
  double learning_rate = 0;
  bool skipped = false;    // For a non-finite gradient.
  uint64_t staleness = 0;  // ssp, async: how far the pusher was ahead of the slowest worker, in clocks.
};

// What the caller has to do after an event. Every request is answered exactly once.
struct ChunkActions {
  std::vector<Answer> answers;
  std::vector<AppliedStep> applied;
  std::optional<StepNorm> norm;  // sync: a step's sum is complete.
  absl::Status failure;          // Not OK: the whole job must fail with it.

  // For use again without allocating.
  void Clear() {
    answers.clear();
    applied.clear();
    norm.reset();
    failure = absl::OkStatus();
  }
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_CHUNK_REQUEST_H_
