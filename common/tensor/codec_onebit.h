// ONEBIT: one bit a value, its sign, and a scale for every 2048, with AVX2 or portable code chosen at run time and the
// same bits from each. For gradients with error feedback (Seide et al., 2014, with the mean magnitude as the scale).
//
//   std::string bytes(OnebitEncodedBytes(values.size()), '\0');
//   EncodeOnebit(values, absl::MakeSpan(residual), bytes.data());
//
// Per block of 2048 values (the last may be shorter, n of them): an fp32 scale, then ceil(n / 8) bytes; bit i % 8 of
// byte i / 8 is the sign bit of value i, unused bits are 0. The scale is the mean magnitude: the sum in fp32 over 16
// lanes (lane j adds elements j, j + 16, ... in turn; then lane j += lane j + 8 for j < 8, lane j += lane j + 4 for
// j < 4, and so on) divided by n. A value decodes to scale or -scale.
//
// A block whose sum is not finite has scale NaN (0x7fc00000) and zero bits: it decodes to NaNs, and its residual
// becomes 0. Pure and thread safe.
#ifndef PARAMD_COMMON_TENSOR_CODEC_ONEBIT_H_
#define PARAMD_COMMON_TENSOR_CODEC_ONEBIT_H_

#include <cstddef>

#include "absl/types/span.h"
#include "common/base/cpu_info.h"

namespace paramd {

inline constexpr size_t kOnebitBlockElements = 2048;

size_t OnebitEncodedBytes(size_t elements);

// Writes OnebitEncodedBytes(values.size()) bytes to `out`. `residual` is empty, or has the values' size: it is added to
// them first and holds value - decoded afterwards.
void EncodeOnebit(absl::Span<const float> values, absl::Span<float> residual, char* out);

// Reads OnebitEncodedBytes(out.size()) bytes; any bytes have a meaning, unused bits none.
void DecodeOnebit(const char* bytes, absl::Span<float> out);

// For tests that compare the paths.
namespace onebit_internal {

struct Kernels {
  float (*sum_of_magnitudes)(const float* values, size_t size);
  // The sign bits and, unless it is null, residual = value -+ scale. `residual` may be `values`.
  void (*signs)(const float* values, size_t size, float scale, char* bits, float* residual);
  void (*expand)(const char* bits, size_t size, float scale, float* out);
};

// `isa` must not exceed DetectIsa().
const Kernels& KernelsFor(Isa isa);

}  // namespace onebit_internal
}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_CODEC_ONEBIT_H_
