#include "worker/parameter_client/encoded_buffers.h"

#include <utility>

#include "common/base/status_macros.h"

namespace paramd {

EncodedBuffers::EncodedBuffers(const CodecPlan& codecs, std::shared_ptr<SharedSegment> segment)
    : codecs_(codecs), segment_(std::move(segment)), free_(codecs.chunk_count()) {}

size_t EncodedBuffers::SharedFloats(const CodecPlan& codecs, int chunk) {
  return (codecs.MaxEncodedBytes(chunk) + sizeof(float) - 1) / sizeof(float);
}

absl::StatusOr<std::shared_ptr<const EncodedBuffer>> EncodedBuffers::Encode(int chunk, absl::Span<const float> values,
                                                                            absl::Span<float> residual) {
  std::unique_ptr<EncodedBuffer> buffer = Take(chunk);
  ASSIGN_OR_RETURN(const size_t size, EncodeChunk(codecs_, chunk, values, residual, buffer->memory_));
  buffer->bytes_ = absl::string_view(buffer->memory_.data(), size);
  return std::shared_ptr<const EncodedBuffer>(
      buffer.release(), [self = shared_from_this(), chunk](const EncodedBuffer* done) {
        self->Return(chunk, const_cast<EncodedBuffer*>(done));  // Made above, as no constant.
      });
}

std::unique_ptr<EncodedBuffer> EncodedBuffers::Take(int chunk) {
  absl::MutexLock lock(&mutex_);
  if (!free_[chunk].empty()) {
    std::unique_ptr<EncodedBuffer> buffer = std::move(free_[chunk].back());
    free_[chunk].pop_back();
    return buffer;
  }
  auto buffer = std::make_unique<EncodedBuffer>();
  if (segment_ != nullptr) {
    const absl::Span<float> floats = segment_->AllocateFloats(SharedFloats(codecs_, chunk));
    buffer->memory_ = {reinterpret_cast<char*>(floats.data()), floats.size() * sizeof(float)};
  }
  if (buffer->memory_.empty()) {
    const size_t bytes = codecs_.MaxEncodedBytes(chunk);
    buffer->heap_ = std::make_unique_for_overwrite<char[]>(bytes);
    buffer->memory_ = {buffer->heap_.get(), bytes};
  }
  return buffer;
}

void EncodedBuffers::Return(int chunk, EncodedBuffer* buffer) {
  absl::MutexLock lock(&mutex_);
  free_[chunk].emplace_back(buffer);
}

}  // namespace paramd
