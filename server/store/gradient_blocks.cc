#include "server/store/gradient_blocks.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "common/tensor/codec_half.h"

namespace paramd {

size_t GradientPayload::BytesPerElement(v1::Codec codec) {
  switch (codec) {
    case v1::CODEC_FP32:
      return sizeof(float);
    case v1::CODEC_BF16:
    case v1::CODEC_FP16:
      return sizeof(uint16_t);
    default:
      return 0;
  }
}

GradientBlocks::GradientBlocks(const GradientPayload& payload, absl::Span<const float* const> addends)
    : payload_(payload), addend_count_(addends.size()) {
  assert(addends.size() <= kMaxAddends);
  std::copy(addends.begin(), addends.end(), addends_.begin());
}

absl::string_view GradientBlocks::Read(size_t bytes) {
  size_t gathered = 0;
  while (gathered < bytes && fragment_ < payload_.bytes.fragment_count()) {
    const absl::string_view rest = payload_.bytes.fragment(fragment_).substr(offset_);
    const size_t taken = std::min(rest.size(), bytes - gathered);
    offset_ += taken;
    if (taken == rest.size()) {
      ++fragment_;
      offset_ = 0;
    }
    if (taken == bytes) return rest.substr(0, bytes);
    std::memcpy(gathered_ + gathered, rest.data(), taken);
    gathered += taken;
  }
  return absl::string_view(gathered_, gathered);
}

absl::string_view GradientBlocks::ReadFloats(int64_t elements) {
  const absl::string_view bytes =
      Read(static_cast<size_t>(elements) * GradientPayload::BytesPerElement(payload_.codec));
  if (payload_.codec == v1::CODEC_FP32) return bytes;
  const absl::Span<float> decoded(decoded_, elements);
  if (payload_.codec == v1::CODEC_BF16) {
    DecodeBf16(bytes.data(), decoded);
  } else {
    DecodeFp16(bytes.data(), decoded);
  }
  return AsBytes(decoded);
}

const char* GradientBlocks::Next(int64_t elements, float* scratch, SquaredNormSum* norm) {
  assert(elements <= kBlockElements && position_ + elements <= payload_.elements());
  absl::string_view sum = ReadFloats(elements);
  const absl::Span<float> out(scratch, elements);
  for (size_t i = 0; i < addend_count_; ++i) {
    const absl::Span<const float> addend(addends_[i] + position_, elements);
    if (norm != nullptr && i + 1 == addend_count_) {
      SumBytes(sum, addend, out, *norm);
    } else {
      SumBytes(sum, addend, out);
    }
    sum = AsBytes(out);
  }
  if (norm != nullptr && addend_count_ == 0) norm->AddBytes(sum);
  position_ += elements;
  return sum.data();
}

void GradientBlocks::NextInto(absl::Span<float> out, SquaredNormSum* norm) {
  const char* sum = Next(static_cast<int64_t>(out.size()), out.data(), norm);
  if (addend_count_ == 0) std::memcpy(out.data(), sum, out.size() * sizeof(float));
}

double SquaredNorm(const GradientPayload& payload, float average) {
  GradientBlocks blocks(payload);
  SquaredNormSum norm(average);
  for (int64_t begin = 0; begin < payload.elements(); begin += GradientBlocks::kBlockElements) {
    blocks.Next(std::min(GradientBlocks::kBlockElements, payload.elements() - begin), nullptr, &norm);
  }
  return norm.Total();
}

}  // namespace paramd
