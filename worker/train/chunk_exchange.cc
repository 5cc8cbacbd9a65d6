#include "worker/train/chunk_exchange.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "worker/parameter_client/encoded_buffers.h"

namespace paramd {
namespace {

// Adds the time until its end of scope.
class Stopwatch {
 public:
  explicit Stopwatch(absl::Duration& sum) : sum_(sum), start_(absl::Now()) {}
  ~Stopwatch() { sum_ += absl::Now() - start_; }

 private:
  absl::Duration& sum_;
  const absl::Time start_;
};

uint64_t Staleness(const v1::JobSpec& spec) {
  return spec.sync().mode() == v1::SYNC_MODE_SSP ? spec.sync().staleness() : std::numeric_limits<uint64_t>::max();
}

SlotAccumulator::Result ResultOf(const v1::JobSpec& spec) {
  return IsSync(spec) ? SlotAccumulator::Result::kSubtrees : SlotAccumulator::Result::kTotal;
}

std::shared_ptr<ArenaMemory> MemoryOf(const ChunkExchangeOptions& options) {
  return options.memory != nullptr ? options.memory : std::make_shared<ArenaMemory>();
}

}  // namespace

bool IsSync(const v1::JobSpec& spec) {
  return spec.sync().mode() == v1::SYNC_MODE_SYNC || spec.sync().mode() == v1::SYNC_MODE_UNSPECIFIED;
}

ChunkExchange::ChunkExchange(const ChunkExchangeOptions& options)
    : plan_(options.plan),
      sync_(IsSync(options.spec)),
      clip_here_(!sync_ && options.spec.optimizer().clip_norm() > 0),
      clip_norm_(options.spec.optimizer().clip_norm()),
      staleness_(Staleness(options.spec)),
      tree_(options.spec.training().slots()),
      client_(options.client),
      codecs_(options.codecs),
      memory_(MemoryOf(options)),
      weights_{memory_->Allocate(plan_.arena_elements()), memory_->Allocate(plan_.arena_elements())},
      slots_(options.slots),
      sums_(plan_, tree_, slots_, ResultOf(options.spec), *memory_),
      awaited_(plan_.chunk_count(), false),
      lane_(options.trace, {"compute"}) {
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    parameters_in_chunk_.push_back(static_cast<int>(plan_.SegmentsOf(chunk).size()));
    lossy_ |= codecs_ != nullptr && codecs_->NeedsResidual(chunk);
  }
  for (const Subtree& subtree : sums_.subtrees()) slots_in_subtree_.push_back(tree_.SlotsIn(subtree));
  if (lossy_) residuals_.assign(sums_.payload_count(), std::vector<float>(plan_.arena_elements(), 0.0f));
}

void ChunkExchange::SetSlots(SlotRange slots) {
  if (slots.first == slots_.first && slots.count == slots_.count) return;
  const std::vector<Subtree> before = sums_.subtrees();
  slots_ = slots;
  sums_.SetSlots(slots);
  slots_in_subtree_.clear();
  for (const Subtree& subtree : sums_.subtrees()) slots_in_subtree_.push_back(tree_.SlotsIn(subtree));
  if (lossy_) ResizeResiduals(before);
}

// What was lost of a subtree belongs to this subtree's next push; with other slots there may be none.
void ChunkExchange::ResizeResiduals(const std::vector<Subtree>& before) {
  std::vector<std::vector<float>> old = std::exchange(residuals_, {});
  for (int i = 0; i < sums_.payload_count(); ++i) {
    const auto same = sync_ ? std::find(before.begin(), before.end(), sums_.subtrees()[i]) : before.end();
    residuals_.push_back(same == before.end() ? std::vector<float>(plan_.arena_elements(), 0.0f)
                                              : std::move(old[same - before.begin()]));
  }
}

size_t ChunkExchange::SharedBytes(const v1::JobSpec& spec, const ArenaPlan& plan, SlotRange slots,
                                  const CodecPlan& codecs) {
  const SlotTree tree(spec.training().slots());
  const auto arenas = static_cast<size_t>(2 + SlotAccumulator::BufferCount(tree, slots));
  const size_t payloads = IsSync(spec) ? tree.Cover(slots.first, slots.count).size() : 1;
  size_t bytes = arenas * ArenaMemory::SharedBytes(plan.arena_elements());
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    if (codecs.CodecOf(chunk) == v1::CODEC_FP32) continue;
    const auto floats = static_cast<int64_t>(EncodedBuffers::SharedFloats(codecs, chunk));
    bytes += payloads * ArenaMemory::SharedBytes(floats);
  }
  return bytes;
}

std::string ChunkExchange::residual_name(int i) const {
  if (!sync_) return absl::StrCat("residual/slots/", slots_.first, "+", slots_.count);
  return absl::StrCat("residual/slots/", sums_.subtrees()[i].first_slot, "+", slots_in_subtree_[i]);
}

absl::Status ChunkExchange::PullWeights(uint64_t step, bool exact) {
  front_step_ = step - 1;  // Until the turn. Of step 0, too: it comes back to 0.
  const PullPart pull = {.min_version = sync_ ? step : 0, .exact_version = exact};
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(Pull(chunk, pull));
  return absl::OkStatus();
}

absl::Status ChunkExchange::Pull(int chunk, PullPart pull) {
  awaited_[chunk] = ahead_ = true;
  pull.landing = Landing(chunk);
  return client_.Pull(chunk, pull);
}

void ChunkExchange::BeginStep(uint64_t step, SlotRange slots) {
  step_ = step;
  Turn();
  SetSlots(slots);
}

void ChunkExchange::Turn() {
  if (!std::exchange(ahead_, false)) return;
  ++front_step_;
  front_ = 1 - front_;
}

absl::Span<float> ChunkExchange::BeginInherited(uint64_t step, uint32_t slot) {
  inheriting_ = true;
  inherited_step_ = step;
  inherited_slot_ = slot;
  inherited_front_ = front_step_ == step ? front_ : 1 - front_;
  if (inherited_sum_.empty()) inherited_sum_ = memory_->Allocate(plan_.arena_elements());
  remaining_ = parameters_in_chunk_;
  first_gradient_ = absl::InfiniteFuture();
  return inherited_sum_;
}

absl::Status ChunkExchange::PushInherited(int chunk) {
  const ElementRange range = plan_.ChunkRange(chunk);
  return client_.Push(chunk, {.step = inherited_step_,
                              .subtree = tree_.Canonical({.first_slot = inherited_slot_, .log2_size = 0}),
                              .slot_count = 1,
                              .payload = inherited_sum_.subspan(range.begin, range.size())});
}

absl::Status ChunkExchange::EndInherited() {
  inheriting_ = false;
  return client_.WaitForPushes();
}

absl::Span<float> ChunkExchange::BeginSlot(uint32_t i) {
  inheriting_ = false;
  remaining_ = parameters_in_chunk_;
  first_gradient_ = absl::InfiniteFuture();
  return sums_.BeginSlot(i);
}

absl::Span<float> ChunkExchange::Landing(int chunk) {
  const ElementRange range = plan_.ChunkRange(chunk);
  return weights_[1 - front_].subspan(range.begin, range.size());
}

absl::Span<float> ChunkExchange::Residual(int chunk, int payload) {
  if (residuals_.empty()) return {};
  const ElementRange range = plan_.ChunkRange(chunk);
  return absl::MakeSpan(residuals_[payload]).subspan(range.begin, range.size());
}

absl::Status ChunkExchange::WaitFor(int chunk) {
  if (!awaited_[chunk]) return absl::OkStatus();
  Stopwatch watch(times_.pull);
  const int64_t since_ns = lane_.Now();
  const auto version = client_.WaitForChunk(chunk);
  if (!version.ok()) return version.status();
  lane_.Interrupt("wait", chunk, since_ns);
  awaited_[chunk] = false;
  return absl::OkStatus();
}

absl::Status ChunkExchange::WaitForParameter(int parameter) {
  // What is awaited may be weights of a later step than the inherited slot's, which are all there then.
  if (inheriting_ && (ahead_ || front_step_ != inherited_step_)) return absl::OkStatus();
  const auto [first, last] = plan_.ChunksOf(parameter);
  for (int chunk = first; chunk < last; ++chunk) RETURN_IF_ERROR(WaitFor(chunk));
  return absl::OkStatus();
}

absl::Status ChunkExchange::GradientFinal(int parameter) {
  if (first_gradient_ == absl::InfiniteFuture()) {
    first_gradient_ = absl::Now();
    lane_.Switch("backward", step_);
  }
  Stopwatch watch(times_.push);
  const auto [first, last] = plan_.ChunksOf(parameter);
  for (int chunk = first; chunk < last; ++chunk) {
    if (--remaining_[chunk] > 0) continue;
    if (inheriting_) {
      RETURN_IF_ERROR(PushInherited(chunk));
      continue;
    }
    const int64_t since_ns = lane_.Now();
    const bool complete = sums_.ChunkFinal(chunk);
    lane_.Interrupt("sum", chunk, since_ns);
    if (complete && !clip_here_) RETURN_IF_ERROR(PushTraced(chunk));
  }
  return absl::OkStatus();
}

absl::Status ChunkExchange::EndStep() {
  for (int chunk = 0; slots_.count == 0 && chunk < plan_.chunk_count(); ++chunk) {
    RETURN_IF_ERROR(Pull(chunk, {.min_version = step_ + 1}));
  }
  if (!clip_here_ || slots_.count == 0) return absl::OkStatus();
  Stopwatch watch(times_.push);
  lane_.Switch("clip", step_);
  Clip();
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(PushTraced(chunk));
  return absl::OkStatus();
}

void ChunkExchange::Clip() {
  const float average = 1.0f / static_cast<float>(slots_.count);
  double squared = 0;
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    for (float sum : sums_.Payload(chunk, 0)) {
      const double value = sum * average;
      squared += value * value;
    }
  }
  // A gradient that is not finite goes as it is: the server's policy decides.
  if (!std::isfinite(squared)) {
    ++non_finite_steps_;
    return;
  }
  const double scale = clip_norm_ / (std::sqrt(squared) + 1e-6);
  if (scale >= 1) return;
  ++clipped_steps_;
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    for (float& sum : sums_.MutablePayload(chunk, 0)) sum *= static_cast<float>(scale);
  }
}

absl::Status ChunkExchange::PushTraced(int chunk) {
  const int64_t since_ns = lane_.Now();
  const bool encoded = codecs_ != nullptr && codecs_->CodecOf(chunk) != v1::CODEC_FP32;
  const absl::Status status = Push(chunk);
  lane_.Interrupt(encoded ? "encode" : "send", chunk, since_ns);
  return status;
}

absl::Status ChunkExchange::Push(int chunk) {
  PassFailpoint(Failpoint::kWorkerPush);
  awaited_[chunk] = ahead_ = true;
  if (!sync_) {
    const PullPart pull = {.min_clock = step_ + 1 > staleness_ ? step_ + 1 - staleness_ : 0, .landing = Landing(chunk)};
    const PushPart push = {
        .step = step_, .slot_count = slots_.count, .payload = sums_.Payload(chunk, 0), .residual = Residual(chunk, 0)};
    return client_.PushPull(chunk, push, pull);
  }
  for (int i = 0; i < sums_.payload_count(); ++i) {
    const PushPart push = {.step = step_,
                           .subtree = sums_.subtrees()[i],
                           .slot_count = slots_in_subtree_[i],
                           .payload = sums_.Payload(chunk, i),
                           .residual = Residual(chunk, i)};
    const bool last = i + 1 == sums_.payload_count();
    RETURN_IF_ERROR(last ? client_.PushPull(chunk, push, {.min_version = step_ + 1, .landing = Landing(chunk)})
                         : client_.Push(chunk, push));
  }
  return absl::OkStatus();
}

absl::Status ChunkExchange::WaitForAll() {
  Turn();
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(WaitFor(chunk));
  return absl::OkStatus();
}

absl::Status ChunkExchange::Finish(uint64_t steps) {
  if (sync_) return absl::OkStatus();  // The last push asked for version `steps`.
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(Pull(chunk, {.min_clock = steps}));
  return absl::OkStatus();
}

ChunkExchange::Times ChunkExchange::TakeTimes() { return std::exchange(times_, Times()); }

int64_t ChunkExchange::memory_bytes() const {
  int64_t bytes = sums_.memory_bytes();
  for (const absl::Span<float>& weights : weights_) bytes += static_cast<int64_t>(weights.size() * sizeof(float));
  for (const auto& residual : residuals_) bytes += static_cast<int64_t>(residual.size() * sizeof(float));
  for (int chunk = 0; codecs_ != nullptr && chunk < plan_.chunk_count(); ++chunk) {
    if (codecs_->CodecOf(chunk) == v1::CODEC_FP32) continue;
    bytes += sums_.payload_count() * static_cast<int64_t>(codecs_->MaxEncodedBytes(chunk));
  }
  return bytes;
}

}  // namespace paramd
