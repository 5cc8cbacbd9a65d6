// Sums over fp32 vectors, with AVX-512, AVX2 or portable code chosen at run time, and the same bits from each.
//
//   AddInto(absl::MakeSpan(sums), gradient);               // sums[i] += gradient[i]
//   double squares = SquaredNorm(gradient, 0.25f);         // of gradient[i] * 0.25f
//
//   SquaredNormSum norm(0.25f);                            // the same in pieces, while the sum is made
//   SumBytes(payload_block, ledger_block, sum_block, norm);
//   double squares = norm.Total();
//
// Sums and products are element by element. The squared norm has a fixed order that no register width and no cut into
// pieces enters into: 16 fp64 lanes, lane j adding the squares (exact in fp64) of elements j, j + 16, j + 32, ... in
// turn; then lane j += lane j + 8 for j < 8, lane j += lane j + 4 for j < 4, and so on. What is NaN on one path is NaN
// on all (of unspecified payload). "Bytes" are little-endian fp32 at any address, e.g. a received slice. Pure and
// thread safe.
#ifndef PARAMD_COMMON_TENSOR_REDUCE_H_
#define PARAMD_COMMON_TENSOR_REDUCE_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/cpu_info.h"

namespace paramd {

// The squared norm of a vector times `average`, an fp32 product, added up in pieces.
class SquaredNormSum {
 public:
  static constexpr size_t kLanes = 16;

  explicit SquaredNormSum(float average = 1) : average_(average) {}

  // The next elements. The size is a multiple of kLanes but for the last piece.
  void Add(absl::Span<const float> values);
  void AddBytes(absl::string_view bytes);
  // Not finite when an element of the product is not.
  double Total() const;

  float average() const { return average_; }
  double* lanes() { return lanes_; }

 private:
  float average_;
  alignas(64) double lanes_[kLanes] = {};
};

// dst[i] += src[i]. Equal sizes; any alignment of `src`.
void AddInto(absl::Span<float> dst, absl::Span<const float> src);
// The same from bytes; bytes.size() == 4 * dst.size().
void AddBytesInto(absl::Span<float> dst, absl::string_view bytes);

// dst[i] = element i of `bytes` + addend[i]. Equal sizes; `dst` may be `addend`.
void SumBytes(absl::string_view bytes, absl::Span<const float> addend, absl::Span<float> dst);
// The same in one pass with norm.Add(dst).
void SumBytes(absl::string_view bytes, absl::Span<const float> addend, absl::Span<float> dst, SquaredNormSum& norm);

// values[i] *= factor.
void Scale(absl::Span<float> values, float factor);

// Sum of the squares of values[i] * average.
double SquaredNorm(absl::Span<const float> values, float average = 1);

// The bytes of `values`, for passing floats where bytes are expected.
inline absl::string_view AsBytes(absl::Span<const float> values) {
  return absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

// For tests that compare the paths.
namespace reduce_internal {

// Sizes in elements. The first size % 16 lanes take the elements after the last whole 16.
struct Kernels {
  void (*sum)(const char* bytes, const float* addend, float* dst, size_t size);
  void (*sum_squares)(const char* bytes, const float* addend, float* dst, float average, double* lanes, size_t size);
  void (*scale)(float* values, float factor, size_t size);
  void (*squares)(const char* bytes, float average, double* lanes, size_t size);
};

// `isa` must not exceed DetectIsa().
const Kernels& KernelsFor(Isa isa);

}  // namespace reduce_internal
}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_REDUCE_H_
