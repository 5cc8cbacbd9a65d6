// A gradient that is the sum of a received payload and of what came before, made block by block while it is needed, so
// that it never lies in memory as a whole.
//
//   GradientBlocks gradient({payload}, {left_sums, right_sums});  // (payload + left) + right
//   alignas(64) float scratch[GradientBlocks::kBlockElements];
//   SquaredNormSum norm(1.0f / slots);
//   const char* block = gradient.Next(1024, scratch, &norm);      // elements 0..1023 and their part of the norm
//
// The payload is read once, front to back, straight out of its fragments, and decoded on the way. Additions commute to
// the bit, so the result has the bits of the slot tree when each addend is the sibling of what is summed up before it.
// Borrows everything. Not thread safe.
#ifndef PARAMD_SERVER_STORE_GRADIENT_BLOCKS_H_
#define PARAMD_SERVER_STORE_GRADIENT_BLOCKS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/tensor/payload.h"
#include "common/tensor/reduce.h"
#include "proto/parameter.pb.h"

namespace paramd {

// Elements in a codec that has the same number of bytes for each.
struct GradientPayload {
  PayloadView bytes;
  v1::Codec codec = v1::CODEC_FP32;  // Or BF16, FP16.

  int64_t elements() const { return static_cast<int64_t>(bytes.size() / BytesPerElement(codec)); }
  // 0 for any other codec.
  static size_t BytesPerElement(v1::Codec codec);
};

class GradientBlocks {
 public:
  // A block, its sums and what the optimizer reads and writes of it fit into the first-level cache together. A multiple
  // of SquaredNormSum::kLanes.
  static constexpr int64_t kBlockElements = 1024;
  static constexpr size_t kMaxAddends = 12;  // A slot tree is no higher.

  // Each of the addends, at most kMaxAddends, has as many elements as the payload.
  explicit GradientBlocks(const GradientPayload& payload, absl::Span<const float* const> addends = {});

  // The next `elements` <= kBlockElements, as bytes at any address: in `scratch`, or where they lie already. Adds them
  // to `norm` unless that is null. Together no more than the payload has.
  const char* Next(int64_t elements, float* scratch, SquaredNormSum* norm);
  // The same, always into `out`, which may be the next elements of the first addend.
  void NextInto(absl::Span<float> out, SquaredNormSum* norm);

 private:
  // The next bytes of the payload: in place, or gathered from its fragments.
  absl::string_view Read(size_t bytes);
  // The next elements as fp32: in place, gathered or decoded.
  absl::string_view ReadFloats(int64_t elements);

  const GradientPayload payload_;
  std::array<const float*, kMaxAddends> addends_;
  const size_t addend_count_;
  int64_t position_ = 0;  // In elements.
  size_t fragment_ = 0;
  size_t offset_ = 0;  // Within the fragment.
  alignas(64) char gathered_[kBlockElements * sizeof(float)];
  alignas(64) float decoded_[kBlockElements];
};

// The squared norm of the payload's elements times `average`.
double SquaredNorm(const GradientPayload& payload, float average);

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_GRADIENT_BLOCKS_H_
