#include "worker/train/chunk_exchange.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status_macros.h"

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

bool IsSync(const v1::JobSpec& spec) {
  return spec.sync().mode() == v1::SYNC_MODE_SYNC || spec.sync().mode() == v1::SYNC_MODE_UNSPECIFIED;
}

uint64_t Staleness(const v1::JobSpec& spec) {
  return spec.sync().mode() == v1::SYNC_MODE_SSP ? spec.sync().staleness() : std::numeric_limits<uint64_t>::max();
}

}  // namespace

ChunkExchange::ChunkExchange(const v1::JobSpec& spec, const ArenaPlan& plan, SlotRange slots, ParameterClient& client)
    : plan_(plan),
      sync_(IsSync(spec)),
      clip_here_(!sync_ && spec.optimizer().clip_norm() > 0),
      clip_norm_(spec.optimizer().clip_norm()),
      staleness_(Staleness(spec)),
      slots_(slots),
      client_(client),
      weights_(plan.arena_elements(), 0.0f),
      sums_(plan, SlotTree(spec.training().slots()), slots.first, slots.count,
            sync_ ? SlotAccumulator::Result::kSubtrees : SlotAccumulator::Result::kTotal),
      awaited_(plan.chunk_count(), false) {
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    parameters_in_chunk_.push_back(static_cast<int>(plan.SegmentsOf(chunk).size()));
  }
  const SlotTree tree(spec.training().slots());
  for (const Subtree& subtree : sums_.subtrees()) slots_in_subtree_.push_back(tree.SlotsIn(subtree));
}

absl::Status ChunkExchange::PullInitialWeights() {
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    RETURN_IF_ERROR(client_.Pull(chunk, {.landing = Landing(chunk)}));
    awaited_[chunk] = true;
  }
  return absl::OkStatus();
}

void ChunkExchange::BeginStep(uint64_t step) { step_ = step; }

absl::Span<float> ChunkExchange::BeginSlot(uint32_t i) {
  remaining_ = parameters_in_chunk_;
  first_gradient_ = absl::InfiniteFuture();
  return sums_.BeginSlot(i);
}

absl::Span<float> ChunkExchange::Landing(int chunk) {
  const ElementRange range = plan_.ChunkRange(chunk);
  return absl::MakeSpan(weights_).subspan(range.begin, range.size());
}

absl::Status ChunkExchange::WaitFor(int chunk) {
  if (!awaited_[chunk]) return absl::OkStatus();
  Stopwatch watch(times_.pull);
  const auto version = client_.WaitForChunk(chunk);
  if (!version.ok()) return version.status();
  awaited_[chunk] = false;
  return absl::OkStatus();
}

absl::Status ChunkExchange::WaitForParameter(int parameter) {
  const auto [first, last] = plan_.ChunksOf(parameter);
  for (int chunk = first; chunk < last; ++chunk) RETURN_IF_ERROR(WaitFor(chunk));
  return absl::OkStatus();
}

absl::Status ChunkExchange::GradientFinal(int parameter) {
  if (first_gradient_ == absl::InfiniteFuture()) first_gradient_ = absl::Now();
  Stopwatch watch(times_.push);
  const auto [first, last] = plan_.ChunksOf(parameter);
  for (int chunk = first; chunk < last; ++chunk) {
    if (--remaining_[chunk] > 0) continue;
    const bool complete = sums_.ChunkFinal(chunk);
    if (complete && !clip_here_) RETURN_IF_ERROR(Push(chunk));
  }
  return absl::OkStatus();
}

absl::Status ChunkExchange::EndStep() {
  if (!clip_here_) return absl::OkStatus();
  Stopwatch watch(times_.push);
  Clip();
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(Push(chunk));
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

absl::Status ChunkExchange::Push(int chunk) {
  awaited_[chunk] = true;
  if (!sync_) {
    const PullPart pull = {.min_clock = step_ + 1 > staleness_ ? step_ + 1 - staleness_ : 0, .landing = Landing(chunk)};
    return client_.PushPull(chunk, {.step = step_, .slot_count = slots_.count, .payload = sums_.Payload(chunk, 0)},
                            pull);
  }
  for (int i = 0; i < sums_.payload_count(); ++i) {
    const PushPart push = {.step = step_,
                           .subtree = sums_.subtrees()[i],
                           .slot_count = slots_in_subtree_[i],
                           .payload = sums_.Payload(chunk, i)};
    const bool last = i + 1 == sums_.payload_count();
    RETURN_IF_ERROR(last ? client_.PushPull(chunk, push, {.min_version = step_ + 1, .landing = Landing(chunk)})
                         : client_.Push(chunk, push));
  }
  return absl::OkStatus();
}

absl::Status ChunkExchange::WaitForAll() {
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(WaitFor(chunk));
  return absl::OkStatus();
}

absl::Status ChunkExchange::Finish(uint64_t steps) {
  RETURN_IF_ERROR(WaitForAll());
  if (sync_) return absl::OkStatus();  // The last push asked for version `steps`.
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    RETURN_IF_ERROR(client_.Pull(chunk, {.min_clock = steps, .landing = Landing(chunk)}));
    awaited_[chunk] = true;
  }
  return WaitForAll();
}

ChunkExchange::Times ChunkExchange::TakeTimes() { return std::exchange(times_, Times()); }

int64_t ChunkExchange::memory_bytes() const {
  return sums_.memory_bytes() + static_cast<int64_t>(weights_.size() * sizeof(float));
}

}  // namespace paramd
