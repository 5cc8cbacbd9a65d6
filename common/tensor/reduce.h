// Sums over fp32 vectors, with AVX-512, AVX2 or portable code chosen at run time, and the same bits from each.
//
//   AddInto(absl::MakeSpan(ledger), gradient);       // ledger[i] += gradient[i]
//   double squares = SquaredNorm(gradient);
//
// AddInto and Scale are element by element. SquaredNorm has a fixed order that no register width enters into: 16 fp64
// lanes, lane j adding the squares (exact in fp64) of elements j, j + 16, j + 32, ... in turn; then lane j += lane j +
// 8 for j < 8, lane j += lane j + 4 for j < 4, and so on. What is NaN on one path is NaN on all (of unspecified
// payload). Pure and thread safe.
#ifndef PARAMD_COMMON_TENSOR_REDUCE_H_
#define PARAMD_COMMON_TENSOR_REDUCE_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/cpu_info.h"

namespace paramd {

// dst[i] += src[i]. Equal sizes; any alignment of `src`.
void AddInto(absl::Span<float> dst, absl::Span<const float> src);

// The same from little-endian fp32 bytes at any address, e.g. a received slice; bytes.size() == 4 * dst.size().
void AddBytesInto(absl::Span<float> dst, absl::string_view bytes);

// values[i] *= factor.
void Scale(absl::Span<float> values, float factor);

// Sum of the squares. Not finite when a value is not finite.
double SquaredNorm(absl::Span<const float> values);

// For tests that compare the paths.
namespace reduce_internal {

struct Kernels {
  void (*add)(float* dst, const char* src, size_t size);
  void (*scale)(float* values, float factor, size_t size);
  double (*squared_norm)(const float* values, size_t size);
};

// `isa` must not exceed DetectIsa().
const Kernels& KernelsFor(Isa isa);

}  // namespace reduce_internal
}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_REDUCE_H_
