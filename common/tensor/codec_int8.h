// INT8: 8 bits a value and a scale for every 256, with AVX2 or portable code chosen at run time and the same bits from
// each.
//
//   std::string bytes(Int8EncodedBytes(values.size()), '\0');
//   EncodeInt8(values, absl::MakeSpan(residual), bytes.data());
//
// Per block of 256 values (the last may be shorter): an fp32 scale, then a signed byte for each value. With m the
// largest magnitude of the block:
//
//   scale = m / 127, or 0 when that is below 2^-126;  q = round(x * (1 / scale)), ties to even;  decoded = q * scale
//
// all in fp32. With scale 0 all q are 0. A block with a magnitude of 2^127 or more, infinity or a NaN among them, has
// scale NaN (0x7fc00000) and zeros: it decodes to NaNs, and its residual becomes 0. Pure and thread safe.
#ifndef PARAMD_COMMON_TENSOR_CODEC_INT8_H_
#define PARAMD_COMMON_TENSOR_CODEC_INT8_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/base/cpu_info.h"

namespace paramd {

inline constexpr size_t kInt8BlockElements = 256;

size_t Int8EncodedBytes(size_t elements);

// Writes Int8EncodedBytes(values.size()) bytes to `out`. `residual` is empty, or has the values' size: it is added to
// them first and holds value - decoded afterwards.
void EncodeInt8(absl::Span<const float> values, absl::Span<float> residual, char* out);

// Reads Int8EncodedBytes(out.size()) bytes; any bytes have a meaning.
void DecodeInt8(const char* bytes, absl::Span<float> out);

// For tests that compare the paths.
namespace int8_internal {

struct Kernels {
  // The largest of the values' bits without the sign: the bits of the largest magnitude, above infinity for a NaN.
  uint32_t (*largest_bits)(const float* values, size_t size);
  // q and, unless it is null, residual = value - q * scale. `residual` may be `values`; no value * inverse is beyond
  // 127.
  void (*quantize)(const float* values, size_t size, float scale, float inverse, char* q, float* residual);
  void (*dequantize)(const char* q, size_t size, float scale, float* out);
};

// `isa` must not exceed DetectIsa().
const Kernels& KernelsFor(Isa isa);

}  // namespace int8_internal
}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_CODEC_INT8_H_
