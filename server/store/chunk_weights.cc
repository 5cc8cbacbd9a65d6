#include "server/store/chunk_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/model/initialize.h"
#include "common/tensor/codec_half.h"

namespace paramd {

void WriteWeights(absl::Span<const float> weights, int64_t first, const WeightsTarget& target) {
  if (target.codec == v1::CODEC_BF16) {
    uint16_t* const halves = reinterpret_cast<uint16_t*>(target.memory.data());
    EncodeBf16(weights, absl::MakeSpan(halves + first, weights.size()));
  } else {
    std::memcpy(target.memory.data() + first, weights.data(), weights.size() * sizeof(float));
  }
}

ChunkWeights::ChunkWeights(std::shared_ptr<const JobPlan> plan, int index, std::shared_ptr<BufferPool> pool)
    : plan_(std::move(plan)),
      index_(index),
      elements_(plan_->arena.ChunkRange(index).size()),
      segments_(plan_->arena.SegmentsOf(index)),
      pool_(std::move(pool)) {}

void ChunkWeights::Initialize() {
  state_ = pool_->Take(elements_ * plan_->optimizer->state_count());
  std::fill(state_.span().begin(), state_.span().end(), 0.0f);
  Buffer weights = pool_->Take(elements_);
  InitializeArenaRange(plan_->arena, plan_->spec.seed(), plan_->arena.ChunkRange(index_).begin, weights.span());
  Publish(std::move(weights));
}

void ChunkWeights::Restore(uint64_t version, uint64_t updates, absl::Span<const float> weights,
                           absl::Span<const float> state) {
  version_ = version;
  updates_ = updates;
  state_ = pool_->Take(elements_ * plan_->optimizer->state_count());
  std::copy(state.begin(), state.end(), state_.span().begin());
  Buffer copy = pool_->Take(elements_);
  std::copy(weights.begin(), weights.end(), copy.span().begin());
  Publish(std::move(copy));
}

Buffer ChunkWeights::CopyState() const {
  Buffer copy = pool_->Take(state_.size());
  std::copy(state_.span().begin(), state_.span().end(), copy.span().begin());
  return copy;
}

bool ChunkWeights::Apply(GradientBlocks& gradient, const Step& step) {
  ++updates_;
  PrepareSteps(step.learning_rate);
  Buffer weights = pool_->Take(elements_);
  Buffer bf16;
  if (step.bf16) bf16 = pool_->Take(Snapshot::Bf16Floats(elements_));
  alignas(64) float scratch[GradientBlocks::kBlockElements];
  size_t segment = 0;
  for (int64_t begin = 0; begin < elements_; begin += GradientBlocks::kBlockElements) {
    const int64_t end = std::min(begin + GradientBlocks::kBlockElements, elements_);
    Update(gradient.Next(end - begin, scratch, step.norm), begin, end, step, weights, segment);
    const absl::Span<const float> updated = weights.span().subspan(begin, end - begin);
    for (const WeightsTarget& target : step.targets) WriteWeights(updated, begin, target);
    if (step.bf16) WriteWeights(updated, begin, {.codec = v1::CODEC_BF16, .memory = bf16.span()});
  }
  if (step.norm != nullptr && !std::isfinite(step.norm->Total())) return false;
  ++version_;
  Publish(std::move(weights), std::move(bf16));
  return true;
}

void ChunkWeights::Update(const char* gradient, int64_t begin, int64_t end, const Step& step, Buffer& weights,
                          size_t& segment) {
  const int64_t chunk_begin = plan_->arena.ChunkRange(index_).begin;
  const float* const old_weights = snapshot_->weights().data();
  for (int64_t at = begin; at < end;) {
    const ElementRange range = segment < segments_.size() ? segments_[segment].arena : ElementRange();
    const int64_t first = range.size() > 0 ? range.begin - chunk_begin : end;
    if (first > at) {  // Padding.
      const int64_t stop = std::min(first, end);
      std::fill(weights.data() + at, weights.data() + stop, 0.0f);
      at = stop;
      continue;
    }
    const int64_t stop = std::min(range.end - chunk_begin, end);
    steps_[segment].Run({.gradient = gradient + (at - begin) * sizeof(float),
                         .average = step.average,
                         .clip = step.clip,
                         .weights = old_weights + at,
                         .new_weights = weights.data() + at,
                         .state = state_.size() > 0 ? state_.data() + at : nullptr,
                         .state_stride = elements_,
                         .size = stop - at});
    at = stop;
    if (stop == range.end - chunk_begin) ++segment;
  }
}

void ChunkWeights::PrepareSteps(double learning_rate) {
  steps_.clear();
  for (const ChunkSegment& segment : segments_) {
    const ParameterSettings& settings = plan_->settings[segment.parameter];
    steps_.push_back(plan_->optimizer->Prepare({.learning_rate = learning_rate * settings.learning_rate_scale,
                                                .weight_decay = settings.weight_decay,
                                                .update = updates_}));
  }
}

void ChunkWeights::Keep() {
  Buffer weights = pool_->Take(elements_);
  std::copy_n(snapshot_->weights().data(), elements_, weights.data());
  ++version_;
  Publish(std::move(weights));
}

void ChunkWeights::Publish(Buffer weights, Buffer bf16) {
  snapshot_ = std::allocate_shared<const Snapshot>(PoolAllocator<Snapshot>(pool_), version_, std::move(weights),
                                                   std::move(bf16));
}

}  // namespace paramd
