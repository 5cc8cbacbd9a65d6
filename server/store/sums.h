// The two passes over gradient bytes: adding a received payload, and the squared norm. Both give the same bits on every
// machine. Pure and thread safe.
#ifndef PARAMD_SERVER_STORE_SUMS_H_
#define PARAMD_SERVER_STORE_SUMS_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace paramd {

// sum[i] += element i of `payload`: little-endian fp32 at any alignment, sum.size() of them.
void AddPayload(absl::string_view payload, absl::Span<float> sum);

// sum[i] += addend[i]. The spans do not overlap.
void Add(absl::Span<const float> addend, absl::Span<float> sum);

// Sum of the squares of (gradient[i] * average) in fp64: element i goes to lane i % 16, the lanes are added as a binary
// tree. NaN or infinite exactly when an element of the product is.
double SquaredNorm(absl::Span<const float> gradient, float average);

// The bytes of `values`, for passing floats where a payload is expected.
inline absl::string_view AsPayload(absl::Span<const float> values) {
  return absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_SUMS_H_
