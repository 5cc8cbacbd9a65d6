#include "common/partition/codec_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/model/parameter_match.h"
#include "common/tensor/codec.h"

namespace paramd {
namespace {

absl::Status WrongSize(int chunk, absl::string_view what, size_t size, absl::string_view unit, int64_t expected) {
  return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                   absl::StrCat("chunk ", chunk, ": ", what, " of ", size, " ", unit, ", expected ", expected));
}

v1::Codec SetOr(v1::Codec codec, v1::Codec otherwise) { return codec == v1::CODEC_UNSPECIFIED ? otherwise : codec; }

// The codec that each parameter is pushed with.
std::vector<v1::Codec> Resolve(const v1::JobSpec& spec, const ArenaPlan& plan) {
  const v1::Codec others = SetOr(spec.communication().push_codec(), v1::CODEC_FP32);
  std::vector<v1::Codec> codecs;
  codecs.reserve(plan.parameters().size());
  for (const ParameterSpec& parameter : plan.parameters()) {
    const v1::ParameterGroup* const group = FindParameterGroup(spec.optimizer(), parameter.name);
    codecs.push_back(group == nullptr ? others : SetOr(group->push_codec(), others));
  }
  return codecs;
}

std::vector<CodecRun> DivideChunk(const ArenaPlan& plan, int chunk, absl::Span<const v1::Codec> codecs) {
  const ElementRange whole = plan.ChunkRange(chunk);
  std::vector<CodecRun> runs;
  for (const ChunkSegment& segment : plan.SegmentsOf(chunk)) {
    const v1::Codec codec = codecs[segment.parameter];
    if (!runs.empty() && runs.back().codec == codec) continue;
    const int64_t begin = runs.empty() ? 0 : segment.arena.begin - whole.begin;
    if (!runs.empty()) runs.back().range.end = begin;
    runs.push_back({.range = {begin, whole.size()}, .codec = codec});
  }
  return runs;
}

absl::Span<float> PartOf(absl::Span<float> values, const ElementRange& range) {
  return values.empty() ? values : values.subspan(range.begin, range.size());
}

}  // namespace

absl::StatusOr<CodecPlan> CodecPlan::Create(const v1::JobSpec& spec, const ArenaPlan& plan) {
  const std::vector<v1::Codec> codecs = Resolve(spec, plan);
  CodecPlan result;
  for (size_t i = 0; i < codecs.size(); ++i) {
    if (codecs[i] < v1::CODEC_FP32 || codecs[i] > v1::CODEC_ONEBIT) {
      return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                       absl::StrCat("parameter \"", plan.parameters()[i].name, "\" cannot be pushed with codec ",
                                    static_cast<int>(codecs[i])));
    }
    if (codecs[i] != v1::CODEC_FP32) result.lossless_ = false;
  }
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) result.runs_.push_back(DivideChunk(plan, chunk, codecs));
  result.topk_ratio_ = spec.communication().topk_ratio();
  result.pull_codec_ = SetOr(spec.communication().pull_codec(), v1::CODEC_FP32);
  return result;
}

v1::Codec CodecPlan::CodecOf(int chunk) const {
  return runs_[chunk].size() == 1 ? runs_[chunk][0].codec : v1::CODEC_PER_GROUP;
}

bool CodecPlan::NeedsResidual(int chunk) const {
  return std::any_of(runs_[chunk].begin(), runs_[chunk].end(),
                     [](const CodecRun& run) { return HasErrorFeedback(run.codec); });
}

size_t CodecPlan::MaxEncodedBytes(int chunk) const {
  size_t bytes = 0;
  for (const CodecRun& run : runs_[chunk]) {
    bytes += paramd::MaxEncodedBytes(run.codec, static_cast<size_t>(run.range.size()), topk_ratio_);
  }
  return bytes;
}

absl::StatusOr<size_t> EncodeChunk(const CodecPlan& plan, int chunk, absl::Span<const float> values,
                                   absl::Span<float> residual, absl::Span<char> out) {
  const int64_t elements = plan.ElementsOf(chunk);
  if (static_cast<int64_t>(values.size()) != elements) {
    return WrongSize(chunk, "values", values.size(), "elements", elements);
  }
  if (!residual.empty() && residual.size() != values.size()) {
    return WrongSize(chunk, "a residual", residual.size(), "elements", elements);
  }
  size_t size = 0;
  for (const CodecRun& run : plan.RunsOf(chunk)) {
    ASSIGN_OR_RETURN(const size_t bytes, EncodeRun(run.codec, values.subspan(run.range.begin, run.range.size()),
                                                   plan.topk_ratio(), PartOf(residual, run.range), out.subspan(size)));
    size += bytes;
  }
  return size;
}

absl::Status EncodeChunk(const CodecPlan& plan, int chunk, absl::Span<const float> values, absl::Span<float> residual,
                         std::string& out) {
  const size_t begin = out.size();
  out.resize(begin + plan.MaxEncodedBytes(chunk));
  const absl::StatusOr<size_t> size = EncodeChunk(plan, chunk, values, residual, absl::MakeSpan(out).subspan(begin));
  out.resize(begin + size.value_or(0));
  return size.status();
}

absl::Status DecodeChunk(const CodecPlan& plan, int chunk, v1::Codec codec_on_wire, absl::string_view payload,
                         absl::Span<float> out) {
  const int64_t elements = plan.ElementsOf(chunk);
  if (static_cast<int64_t>(out.size()) != elements) {
    return WrongSize(chunk, "room", out.size(), "elements", elements);
  }
  if (codec_on_wire == v1::CODEC_FP32) {
    if (payload.size() != out.size() * sizeof(float)) {
      return WrongSize(chunk, "a payload", payload.size(), "bytes", elements * static_cast<int64_t>(sizeof(float)));
    }
    return DecodeRun(v1::CODEC_FP32, payload, out);
  }
  if (codec_on_wire != plan.CodecOf(chunk)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                     absl::StrCat("chunk ", chunk, " is pushed as ", v1::Codec_Name(plan.CodecOf(chunk)),
                                  " or CODEC_FP32, not as codec ", static_cast<int>(codec_on_wire)));
  }
  for (const CodecRun& run : plan.RunsOf(chunk)) {
    RETURN_IF_ERROR(DecodeRun(run.codec, payload, PartOf(out, run.range)));
  }
  if (!payload.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD",
                     absl::StrCat("chunk ", chunk, ": ", payload.size(), " bytes after the last run"));
  }
  return absl::OkStatus();
}

}  // namespace paramd
