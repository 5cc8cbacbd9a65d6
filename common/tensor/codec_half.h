// BF16 and FP16: 16 bits a value, converted with AVX-512, AVX2 or portable code chosen at run time, and the same bits
// from each.
//
//   EncodeBf16(weights, absl::MakeSpan(halves));
//   DecodeBf16(payload.data(), absl::MakeSpan(weights));   // 2 * weights.size() bytes at any address
//
// The conversions are those of common/tensor/dtype.h, many at a time: to nearest, ties to even; a NaN stays a NaN and
// is quiet; overflow gives infinity. Pure and thread safe.
#ifndef PARAMD_COMMON_TENSOR_CODEC_HALF_H_
#define PARAMD_COMMON_TENSOR_CODEC_HALF_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/base/cpu_info.h"

namespace paramd {

// Equal sizes.
void EncodeBf16(absl::Span<const float> values, absl::Span<uint16_t> out);
void EncodeFp16(absl::Span<const float> values, absl::Span<uint16_t> out);

// From 2 * out.size() little-endian bytes at any address.
void DecodeBf16(const char* bytes, absl::Span<float> out);
void DecodeFp16(const char* bytes, absl::Span<float> out);

// For who writes to an address without alignment, and for tests that compare the paths.
namespace half_internal {

struct Kernels {
  void (*encode_bf16)(const float* values, size_t size, char* out);
  void (*encode_fp16)(const float* values, size_t size, char* out);
  void (*decode_bf16)(const char* bytes, size_t size, float* out);
  void (*decode_fp16)(const char* bytes, size_t size, float* out);
};

// `isa` must not exceed BestIsa().
const Kernels& KernelsFor(Isa isa);

// DetectIsa(), or kPortable when AVX2 comes without the conversions of F16C.
Isa BestIsa();

}  // namespace half_internal
}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_CODEC_HALF_H_
