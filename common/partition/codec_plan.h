// Which codec each part of each chunk is pushed with: the job's communication.push_codec and the groups' push_codec,
// resolved over the arena; and whole chunks encoded and decoded by it.
//
//   ASSIGN_OR_RETURN(CodecPlan codecs, CodecPlan::Create(spec, plan));
//   RETURN_IF_ERROR(EncodeChunk(codecs, chunk, gradient, residual, bytes));                       // worker
//   RETURN_IF_ERROR(DecodeChunk(codecs, chunk, request.codec, payload, absl::MakeSpan(values)));  // server
//
// A chunk is divided into runs: maximal stretches of consecutive parameters with the same codec. Padding belongs to the
// run before it; the first run starts at the chunk's start, the last ends at its end. A chunk of one run has its codec
// on the wire, one of several CODEC_PER_GROUP and the runs' encodings one after the other.
//
// Immutable after creation, thread safe, copyable. Knows nothing of RPC.
#ifndef PARAMD_COMMON_PARTITION_CODEC_PLAN_H_
#define PARAMD_COMMON_PARTITION_CODEC_PLAN_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "proto/job.pb.h"
#include "proto/parameter.pb.h"

namespace paramd {

struct CodecRun {
  ElementRange range;  // Within the chunk.
  v1::Codec codec = v1::CODEC_FP32;
  bool operator==(const CodecRun&) const = default;
};

class CodecPlan {
 public:
  // Of no chunks.
  CodecPlan() = default;

  // `spec` is valid; codecs that it leaves unset are FP32. kInvalidArgument (UNSUPPORTED_CODEC) for a codec that cannot
  // be pushed with.
  static absl::StatusOr<CodecPlan> Create(const v1::JobSpec& spec, const ArenaPlan& plan);

  int chunk_count() const { return static_cast<int>(runs_.size()); }
  // Ascending, without gaps, over the whole chunk; at least one.
  absl::Span<const CodecRun> RunsOf(int chunk) const { return runs_[chunk]; }
  int64_t ElementsOf(int chunk) const { return runs_[chunk].back().range.end; }
  // The codec of the chunk's pushes on the wire.
  v1::Codec CodecOf(int chunk) const;
  // Every push is FP32.
  bool lossless() const { return lossless_; }
  // Some run of the chunk has error feedback: EncodeChunk wants a residual of the chunk's size, zeros at first.
  bool NeedsResidual(int chunk) const;
  double topk_ratio() const { return topk_ratio_; }
  // Of weights in answers: FP32 or BF16.
  v1::Codec pull_codec() const { return pull_codec_; }
  // The most bytes that a push of the chunk's values takes.
  size_t MaxEncodedBytes(int chunk) const;

 private:
  std::vector<std::vector<CodecRun>> runs_;
  bool lossless_ = true;
  double topk_ratio_ = 1;
  v1::Codec pull_codec_ = v1::CODEC_FP32;
};

// Writes the encoding of a chunk's values to the front of `out`, which has the chunk's MaxEncodedBytes at least, and
// returns its size. `residual` has the chunk's size, or is empty: then what is lost is lost. kInvalidArgument
// (PARAM_SHAPE_MISMATCH) for other sizes.
absl::StatusOr<size_t> EncodeChunk(const CodecPlan& plan, int chunk, absl::Span<const float> values,
                                   absl::Span<float> residual, absl::Span<char> out);
// The same, appended to `out`.
absl::Status EncodeChunk(const CodecPlan& plan, int chunk, absl::Span<const float> values, absl::Span<float> residual,
                         std::string& out);

// Decodes a push. `codec_on_wire` and `payload` may come from anywhere; `out` must have the chunk's size and is
// unspecified after an error. FP32 is accepted for every chunk. kInvalidArgument: another codec than the plan's
// (UNSUPPORTED_CODEC), FP32 that is not the chunk's size (PARAM_SHAPE_MISMATCH), bytes that end too early, too late or
// contradict themselves (MALFORMED_PAYLOAD).
absl::Status DecodeChunk(const CodecPlan& plan, int chunk, v1::Codec codec_on_wire, absl::string_view payload,
                         absl::Span<float> out);

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_CODEC_PLAN_H_
