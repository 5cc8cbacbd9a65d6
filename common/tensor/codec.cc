#include "common/tensor/codec.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/tensor/codec_int8.h"
#include "common/tensor/codec_onebit.h"
#include "common/tensor/codec_topk.h"

namespace paramd {
namespace {

absl::Status Unsupported(v1::Codec codec) {
  return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                   absl::StrCat("no run of values is encoded as codec ", static_cast<int>(codec)));
}

// The size of a run in a codec whose runs of `elements` values have one size; 0 for others.
size_t FixedBytes(v1::Codec codec, size_t elements) {
  switch (codec) {
    case v1::CODEC_FP32:
      return elements * sizeof(float);
    case v1::CODEC_BF16:
    case v1::CODEC_FP16:
      return elements * sizeof(uint16_t);
    case v1::CODEC_INT8:
      return Int8EncodedBytes(elements);
    case v1::CODEC_ONEBIT:
      return OnebitEncodedBytes(elements);
    default:
      return 0;
  }
}

bool IsRunCodec(v1::Codec codec) { return codec >= v1::CODEC_FP32 && codec <= v1::CODEC_ONEBIT; }

// `out` has FixedBytes.
void EncodeFixed(v1::Codec codec, absl::Span<const float> values, absl::Span<float> residual, char* out) {
  const half_internal::Kernels& half = half_internal::KernelsFor(half_internal::BestIsa());
  switch (codec) {
    case v1::CODEC_BF16:
      return half.encode_bf16(values.data(), values.size(), out);
    case v1::CODEC_FP16:
      return half.encode_fp16(values.data(), values.size(), out);
    case v1::CODEC_INT8:
      return EncodeInt8(values, residual, out);
    case v1::CODEC_ONEBIT:
      return EncodeOnebit(values, residual, out);
    default:
      return;
  }
}

void DecodeFixed(v1::Codec codec, const char* bytes, absl::Span<float> out) {
  switch (codec) {
    case v1::CODEC_FP32:
      if (!out.empty()) std::memcpy(out.data(), bytes, out.size() * sizeof(float));
      return;
    case v1::CODEC_BF16:
      return DecodeBf16(bytes, out);
    case v1::CODEC_FP16:
      return DecodeFp16(bytes, out);
    case v1::CODEC_INT8:
      return DecodeInt8(bytes, out);
    case v1::CODEC_ONEBIT:
      return DecodeOnebit(bytes, out);
    default:
      return;
  }
}

}  // namespace

bool HasErrorFeedback(v1::Codec codec) {
  return codec == v1::CODEC_INT8 || codec == v1::CODEC_TOPK || codec == v1::CODEC_ONEBIT;
}

size_t MaxEncodedBytes(v1::Codec codec, size_t elements, double topk_ratio) {
  if (codec == v1::CODEC_TOPK) return TopkEncodedBytes(elements, TopkCount(elements, topk_ratio));
  return FixedBytes(codec, elements);
}

absl::StatusOr<size_t> EncodeRun(v1::Codec codec, absl::Span<const float> values, double topk_ratio,
                                 absl::Span<float> residual, absl::Span<char> out) {
  if (!IsRunCodec(codec)) return Unsupported(codec);
  if (!residual.empty() && residual.size() != values.size()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat("a residual of ", residual.size(), " for ", values.size(), " values"));
  }
  const size_t room = MaxEncodedBytes(codec, values.size(), topk_ratio);
  if (out.size() < room) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat(out.size(), " bytes of room for ", values.size(), " values that may take ", room));
  }
  if (codec == v1::CODEC_TOPK) {
    return EncodeTopk(values, TopkCount(values.size(), topk_ratio), residual, out.data());
  }
  if (codec == v1::CODEC_FP32) {
    if (!values.empty()) std::memcpy(out.data(), values.data(), room);
  } else {
    EncodeFixed(codec, values, residual, out.data());
  }
  return room;
}

absl::Status EncodeRun(v1::Codec codec, absl::Span<const float> values, double topk_ratio, absl::Span<float> residual,
                       std::string& out) {
  const size_t begin = out.size();
  out.resize(begin + MaxEncodedBytes(codec, values.size(), topk_ratio));
  const absl::StatusOr<size_t> size =
      EncodeRun(codec, values, topk_ratio, residual, absl::MakeSpan(out).subspan(begin));
  out.resize(begin + size.value_or(0));
  return size.status();
}

absl::Status DecodeRun(v1::Codec codec, absl::string_view& bytes, absl::Span<float> out) {
  if (!IsRunCodec(codec)) return Unsupported(codec);
  if (codec == v1::CODEC_TOPK) return DecodeTopk(bytes, out);
  const size_t size = FixedBytes(codec, out.size());
  if (bytes.size() < size) {
    return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD",
                     absl::StrCat(v1::Codec_Name(codec), ": a run of ", out.size(), " values takes ", size,
                                  " bytes, there are ", bytes.size()));
  }
  DecodeFixed(codec, bytes.data(), out);
  bytes.remove_prefix(size);
  return absl::OkStatus();
}

}  // namespace paramd
