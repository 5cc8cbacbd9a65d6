// Buffers for encoded pushes: kept as long as anybody refers to them (a request that may have to be sent again, a slice
// that gRPC writes), then used again for the same chunk.
//
//   auto buffers = std::make_shared<EncodedBuffers>(codecs, segment);
//   ASSIGN_OR_RETURN(std::shared_ptr<const EncodedBuffer> push, buffers->Encode(chunk, values, residual));
//   ... push->bytes() ...
//
// They lie in the segment while it has room, so that encoded pushes can travel by offset too, otherwise on the heap.
// Steady state: as many buffers per chunk as it has pushes under way, and no allocation of buffers.
//
// Thread safe. `codecs` outlives the object; a buffer keeps the object and the segment alive. Nobody else allocates
// from the segment meanwhile.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_ENCODED_BUFFERS_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_ENCODED_BUFFERS_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/base/shared_memory.h"
#include "common/partition/codec_plan.h"

namespace paramd {

class EncodedBuffer {
 public:
  absl::string_view bytes() const { return bytes_; }

 private:
  friend class EncodedBuffers;

  absl::string_view bytes_;  // At the front of the memory.
  absl::Span<char> memory_;  // Of the segment, or of the heap:
  std::unique_ptr<char[]> heap_;
};

class EncodedBuffers final : public std::enable_shared_from_this<EncodedBuffers> {
 public:
  // `segment` may be null.
  EncodedBuffers(const CodecPlan& codecs, std::shared_ptr<SharedSegment> segment);

  // EncodeChunk's errors. Not for chunks whose codec is FP32: their values are sent as they are.
  absl::StatusOr<std::shared_ptr<const EncodedBuffer>> Encode(int chunk, absl::Span<const float> values,
                                                              absl::Span<float> residual);

  // Room in the segment that one push of the chunk takes.
  static size_t SharedFloats(const CodecPlan& codecs, int chunk);

 private:
  std::unique_ptr<EncodedBuffer> Take(int chunk);
  void Return(int chunk, EncodedBuffer* buffer);

  const CodecPlan& codecs_;
  const std::shared_ptr<SharedSegment> segment_;

  absl::Mutex mutex_;
  std::vector<std::vector<std::unique_ptr<EncodedBuffer>>> free_ ABSL_GUARDED_BY(mutex_);  // Per chunk.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_ENCODED_BUFFERS_H_
