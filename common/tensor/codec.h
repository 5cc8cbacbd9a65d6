// How a run of fp32 values travels: as it is, narrower, or only its most important part. docs/formats.md, "Codecs", has
// the bytes of each.
//
//   std::string bytes(MaxEncodedBytes(v1::CODEC_TOPK, gradient.size(), /*topk_ratio=*/0.01), '\0');
//   ASSIGN_OR_RETURN(size_t size, EncodeRun(v1::CODEC_TOPK, gradient, 0.01, residual, absl::MakeSpan(bytes)));
//   absl::string_view rest(bytes.data(), size);
//   RETURN_IF_ERROR(DecodeRun(v1::CODEC_TOPK, rest, absl::MakeSpan(values)));   // rest is empty now.
//
// Error feedback: what INT8, TOPK and ONEBIT lose stays in the residual, which is added to the next values of the same
// run; so in the long run nothing is lost.
//
// Deterministic: the bytes and the residual are a function of codec, values, residual and ratio alone, whatever the
// processor. A value that is not finite is never hidden: the decoded run then has one that is not finite, and the
// residual of what was lost with it becomes 0 (each codec's header says of which elements), so that one bad gradient
// does not spoil those after it.
//
// Pure and thread safe. Runs of several codecs, and which parameter has which: common/partition/codec_plan.h.
#ifndef PARAMD_COMMON_TENSOR_CODEC_H_
#define PARAMD_COMMON_TENSOR_CODEC_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/tensor/codec_half.h"
#include "proto/parameter.pb.h"

namespace paramd {

// Whether the codec keeps what it loses for the next time: INT8, TOPK and ONEBIT.
bool HasErrorFeedback(v1::Codec codec);

// The most bytes that a run of `elements` values takes; exact but for TOPK. 0 for CODEC_UNSPECIFIED and
// CODEC_PER_GROUP, which are codecs of no run.
size_t MaxEncodedBytes(v1::Codec codec, size_t elements, double topk_ratio);

// Writes the encoding of `values` to the front of `out`, MaxEncodedBytes at least, and returns its size. `residual` is
// empty or has the values' size: it is added to them before and holds what was lost after; codecs without error
// feedback leave it alone. `topk_ratio` (0, 1] is read by TOPK. kInvalidArgument: no codec of a run
// (UNSUPPORTED_CODEC), a residual of another size or too little room (PARAM_SHAPE_MISMATCH).
absl::StatusOr<size_t> EncodeRun(v1::Codec codec, absl::Span<const float> values, double topk_ratio,
                                 absl::Span<float> residual, absl::Span<char> out);
// The same, appended to `out`.
absl::Status EncodeRun(v1::Codec codec, absl::Span<const float> values, double topk_ratio, absl::Span<float> residual,
                       std::string& out);

// Decodes out.size() values from the front of `bytes`, which may come from anywhere, and takes what it read off them.
// kInvalidArgument: bytes that end before the run does or contradict themselves (MALFORMED_PAYLOAD), no codec of a run
// (UNSUPPORTED_CODEC); `out` is unspecified then. Allocates nothing.
absl::Status DecodeRun(v1::Codec codec, absl::string_view& bytes, absl::Span<float> out);

}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_CODEC_H_
