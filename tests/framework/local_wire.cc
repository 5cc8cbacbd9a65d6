#include "tests/framework/local_wire.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/partition/chunk_map.h"
#include "common/tensor/dtype.h"

namespace paramd {

absl::StatusOr<LocalWire> LocalWire::Create(const v1::JobSpec& spec, const ArenaPlan& plan, uint32_t workers) {
  const uint32_t slots = spec.training().slots();
  if (workers < 1 || workers > slots) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC",
                     absl::StrCat(workers, " workers for ", slots, " slots"));
  }
  ASSIGN_OR_RETURN(CodecPlan codecs, CodecPlan::Create(spec, plan));
  LocalWire wire(plan, std::move(codecs), slots);
  for (const SlotRange& range : DealSlots(slots, workers)) {
    const std::vector<Subtree> cover = wire.tree_.Cover(range.first, range.count);
    wire.pushes_.insert(wire.pushes_.end(), cover.begin(), cover.end());
  }
  if (!wire.codecs_.lossless()) {
    wire.residuals_.assign(wire.pushes_.size(), std::vector<float>(plan.arena_elements()));
  }
  return wire;
}

int LocalWire::PushOf(uint32_t first, uint32_t width) const {
  const Subtree subtree =
      tree_.Canonical({.first_slot = first, .log2_size = static_cast<uint32_t>(std::countr_zero(width))});
  const auto found = std::find(pushes_.begin(), pushes_.end(), subtree);
  return found == pushes_.end() ? -1 : static_cast<int>(found - pushes_.begin());
}

absl::Status LocalWire::Push(int push, absl::Span<float> sum) {
  raw_bytes_ += static_cast<int64_t>(sum.size() * sizeof(float));
  if (codecs_.lossless()) {
    pushed_bytes_ += static_cast<int64_t>(sum.size() * sizeof(float));
    return absl::OkStatus();
  }
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    const ElementRange range = plan_.ChunkRange(chunk);
    const absl::Span<float> values = sum.subspan(range.begin, range.size());
    const absl::Span<float> residual = absl::MakeSpan(residuals_[push]).subspan(range.begin, range.size());
    bytes_.clear();
    RETURN_IF_ERROR(EncodeChunk(codecs_, chunk, values, residual, bytes_));
    RETURN_IF_ERROR(DecodeChunk(codecs_, chunk, codecs_.CodecOf(chunk), bytes_, values));
    pushed_bytes_ += static_cast<int64_t>(bytes_.size());
  }
  return absl::OkStatus();
}

void LocalWire::Pull(absl::Span<const float> weights, absl::Span<float> pulled) const {
  std::transform(weights.begin(), weights.end(), pulled.begin(), [&](float weight) {
    return codecs_.pull_codec() == v1::CODEC_BF16 ? BFloat16ToFloat(FloatToBFloat16(weight)) : weight;
  });
}

}  // namespace paramd
