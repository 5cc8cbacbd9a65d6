// TOPK: the values of largest magnitude and their places; all others decode to 0. For gradients with error feedback
// (Lin et al., Deep Gradient Compression, 2018).
//
//   size_t size = EncodeTopk(values, TopkCount(values.size(), 0.01), absl::MakeSpan(residual), bytes);
//   RETURN_IF_ERROR(DecodeTopk(rest, absl::MakeSpan(decoded)));
//
// Per block of 65536 values (the last may be shorter): a u32 count, then `count` u16 places within the block,
// ascending, then the `count` values at these places in BF16. 4 bytes a value that is sent.
//
// Which are sent is decided over all values, not block by block: the `count` of largest magnitude, the lower place
// first among equals; zeros never, so there may be fewer. What rounding to BF16 loses stays in the residual too. NaNs
// and infinities count as the largest and are sent as such, a NaN as 0x7fc0; the residual of an element that is not
// finite, or is infinite once rounded, becomes 0, be it sent or not. Pure and thread safe.
#ifndef PARAMD_COMMON_TENSOR_CODEC_TOPK_H_
#define PARAMD_COMMON_TENSOR_CODEC_TOPK_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/cpu_info.h"

namespace paramd {

inline constexpr size_t kTopkBlockElements = 65536;

// max(1, ceil(ratio * elements)), at most `elements`. ratio is in (0, 1].
size_t TopkCount(size_t elements, double ratio);

// The size of the encoding when `count` values of `elements` are sent.
size_t TopkEncodedBytes(size_t elements, size_t count);

// Writes the encoding, TopkEncodedBytes or less, and returns its size. `residual` is empty, or has the values' size: it
// is added to them first and holds value - decoded afterwards. Takes time linear in the size; when magnitudes are
// spread as those of gradients are, that of one or two passes over memory.
size_t EncodeTopk(absl::Span<const float> values, size_t count, absl::Span<float> residual, char* out);

// Decodes out.size() values from the front of `bytes` and takes what it read off them. kInvalidArgument
// (MALFORMED_PAYLOAD): too few bytes, or places that are not ascending or not within their block. Allocates nothing.
absl::Status DecodeTopk(absl::string_view& bytes, absl::Span<float> out);

// For tests that compare the paths.
namespace topk_internal {

struct Kernels {
  // Writes the places, ascending, of all values whose bits without the sign are `threshold` (>= 1) or more; returns
  // how many there are.
  size_t (*collect)(const float* values, size_t size, uint32_t threshold, uint32_t* places);
};

// `isa` must not exceed DetectIsa().
const Kernels& KernelsFor(Isa isa);

// Which place of stretch `i`, all of them `stride` long, belongs to the sample that guesses the threshold.
inline size_t SampledPlace(size_t i, size_t stride) {
  // Scattered, or the columns of a matrix would be seen unevenly.
  const uint32_t scattered = static_cast<uint32_t>(i) * 2654435761u >> 8;
  return i * stride + scattered % stride;
}

}  // namespace topk_internal
}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_CODEC_TOPK_H_
