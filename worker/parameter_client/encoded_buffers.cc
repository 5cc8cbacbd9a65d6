#include "worker/parameter_client/encoded_buffers.h"

#include <algorithm>
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
  RETURN_IF_ERROR(Fill(chunk, values, residual, *buffer));
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
    buffer->shared_ = {reinterpret_cast<char*>(floats.data()), floats.size() * sizeof(float)};
  }
  return buffer;
}

absl::Status EncodedBuffers::Fill(int chunk, absl::Span<const float> values, absl::Span<float> residual,
                                  EncodedBuffer& buffer) {
  if (buffer.shared_.empty()) {
    buffer.heap_.clear();
    RETURN_IF_ERROR(EncodeChunk(codecs_, chunk, values, residual, buffer.heap_));
    buffer.bytes_ = buffer.heap_;
    return absl::OkStatus();
  }
  std::string scratch;
  {
    absl::MutexLock lock(&mutex_);
    if (!scratch_.empty()) {
      scratch = std::move(scratch_.back());
      scratch_.pop_back();
    }
  }
  scratch.clear();
  RETURN_IF_ERROR(EncodeChunk(codecs_, chunk, values, residual, scratch));
  std::copy(scratch.begin(), scratch.end(), buffer.shared_.begin());
  buffer.bytes_ = absl::string_view(buffer.shared_.data(), scratch.size());
  absl::MutexLock lock(&mutex_);
  scratch_.push_back(std::move(scratch));
  return absl::OkStatus();
}

void EncodedBuffers::Return(int chunk, EncodedBuffer* buffer) {
  absl::MutexLock lock(&mutex_);
  free_[chunk].emplace_back(buffer);
}

}  // namespace paramd
