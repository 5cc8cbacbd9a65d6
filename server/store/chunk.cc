#include "server/store/chunk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/model/initialize.h"
#include "server/store/sums.h"

namespace paramd {

namespace {

// As torch.nn.utils.clip_grad_norm_.
constexpr double kClipEpsilon = 1e-6;

float ClipFactor(double clip_norm, double squared_norm) {
  if (clip_norm <= 0) return 1;
  return static_cast<float>(std::min(1.0, clip_norm / (std::sqrt(squared_norm) + kClipEpsilon)));
}

absl::Status OutOfRange(absl::string_view what, uint64_t got, uint64_t limit) {
  return MakeError(absl::StatusCode::kInvalidArgument, "STEP_OUT_OF_RANGE",
                   absl::StrCat(what, " ", got, " is beyond the job's end at ", limit));
}

}  // namespace

Chunk::Chunk(std::shared_ptr<const JobPlan> plan, int index, std::shared_ptr<BufferPool> pool)
    : plan_(std::move(plan)),
      index_(index),
      elements_(plan_->arena.ChunkRange(index).size()),
      segments_(plan_->arena.SegmentsOf(index)),
      pool_(std::move(pool)),
      ledger_(plan_->tree, elements_, *pool_),
      clocks_(plan_->worker_count(), 0) {}

void Chunk::Initialize() {
  state_.assign(static_cast<size_t>(elements_) * plan_->optimizer->state_count(), 0.0f);
  Buffer weights = pool_->Take(elements_);
  InitializeArenaRange(plan_->arena, plan_->spec.seed(), plan_->arena.ChunkRange(index_).begin, weights.span());
  Publish(std::move(weights));
}

void Chunk::Handle(const ChunkRequest& request, ChunkActions& actions) {
  if (!failure_.ok()) {
    actions.answers.push_back(MakeAnswer(request, false, failure_));
    return;
  }
  bool duplicate = false;
  if (request.push) {
    absl::StatusOr<bool> pushed = Push(request, actions);
    if (!pushed.ok()) {
      actions.answers.push_back(MakeAnswer(request, false, pushed.status()));
      return;
    }
    duplicate = *pushed;
  }
  if (request.pull) {
    Pull(request, duplicate, actions);
  } else {
    actions.answers.push_back(MakeAnswer(request, duplicate, absl::OkStatus()));
  }
}

absl::StatusOr<bool> Chunk::Push(const ChunkRequest& request, ChunkActions& actions) {
  if (request.pull) RETURN_IF_ERROR(CheckPull(request));  // Refused as a whole, or taken as a whole.
  if (request.payload.size() != static_cast<size_t>(elements_) * sizeof(float)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat("push of ", request.payload.size(), " bytes to chunk ", index_, " of ",
                                  elements_ * sizeof(float)));
  }
  if (request.step >= plan_->steps()) return OutOfRange("push of step", request.step, plan_->steps());
  return plan_->synchronous() ? PushSync(request, actions) : PushClocked(request, actions);
}

absl::StatusOr<bool> Chunk::PushSync(const ChunkRequest& request, ChunkActions& actions) {
  if (request.step > version_) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "STEP_AHEAD",
        absl::StrCat("push of step ", request.step, " to chunk ", index_, " whose open step is ", version_),
        {{"version", absl::StrCat(version_)}});
  }
  if (!plan_->tree.Valid(request.subtree) || plan_->tree.SlotsIn(request.subtree) != request.slot_count) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE",
                     absl::StrCat("no subtree of ", request.slot_count, " slots (2^", request.subtree.log2_size,
                                  ") at slot ", request.subtree.first_slot, " of ", plan_->slots()));
  }
  if (request.step < version_) return true;
  std::string scratch;
  ASSIGN_OR_RETURN(const Ledger::Outcome outcome, ledger_.Offer(request.subtree, Contiguous(request.payload, scratch)));
  if (outcome == Ledger::Outcome::kDuplicate) return true;
  if (ledger_.complete()) RETURN_IF_ERROR(OnLedgerComplete(actions));
  return false;
}

absl::Status Chunk::OnLedgerComplete(ChunkActions& actions) {
  const double squared_norm = SquaredNorm(ledger_.sum(), 1.0f / static_cast<float>(plan_->slots()));
  actions.norm = StepNorm{.step = version_, .chunk = static_cast<uint32_t>(index_), .squared_norm = squared_norm};
  if (plan_->needs_total_norm()) {
    awaiting_norm_ = true;
    return absl::OkStatus();
  }
  if (!std::isfinite(squared_norm)) {
    actions.failure = NonFinite(version_);
    return actions.failure;
  }
  FinishSyncStep(squared_norm, actions);
  return absl::OkStatus();
}

void Chunk::OnTotalNorm(uint64_t step, double squared_norm, ChunkActions& actions) {
  if (!awaiting_norm_ || step != version_ || !failure_.ok()) return;
  if (!std::isfinite(squared_norm) && plan_->fails_on_non_finite()) {
    actions.failure = NonFinite(step);
    return;
  }
  FinishSyncStep(squared_norm, actions);
}

void Chunk::FinishSyncStep(double total_squared_norm, ChunkActions& actions) {
  AppliedStep applied = {.step = version_, .learning_rate = plan_->schedule.LearningRate(version_)};
  awaiting_norm_ = false;
  if (std::isfinite(total_squared_norm)) {
    const float clip = ClipFactor(plan_->spec.optimizer().clip_norm(), total_squared_norm);
    Apply(ledger_.sum(), 1.0f / static_cast<float>(plan_->slots()), clip, applied.learning_rate);
  } else {
    applied.skipped = true;
    PublishUnchanged();
  }
  ledger_.Reset();
  actions.applied.push_back(applied);
  AnswerReady(actions);
}

absl::StatusOr<bool> Chunk::PushClocked(const ChunkRequest& request, ChunkActions& actions) {
  uint64_t& clock = clocks_[request.worker];
  const uint32_t owned = plan_->placement.workers(request.worker).slot_count();
  if (request.slot_count != owned) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE",
        absl::StrCat("push of ", request.slot_count, " slots by worker ", request.worker, ", which owns ", owned));
  }
  if (request.step < clock) return true;
  if (request.step > clock) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP",
                     absl::StrCat("push of clock ", request.step, " by worker ", request.worker, " to chunk ", index_,
                                  ", expected ", clock),
                     {{"expected", absl::StrCat(clock)}});
  }
  Buffer gradient = pool_->Take(elements_);
  CopyFloats(request.payload, 0, gradient.span());
  const float average = 1.0f / static_cast<float>(owned);
  AppliedStep applied = {
      .step = clock, .learning_rate = plan_->schedule.LearningRate(clock), .staleness = clock - slowest_clock()};
  if (std::isfinite(SquaredNorm(gradient.span(), average))) {
    Apply(gradient.span(), average, 1.0f, applied.learning_rate);
  } else if (plan_->fails_on_non_finite()) {
    actions.failure = NonFinite(clock);
    return actions.failure;
  } else {
    applied.skipped = true;
    PublishUnchanged();
  }
  ++clock;
  actions.applied.push_back(applied);
  AnswerReady(actions);
  return false;
}

absl::Status Chunk::CheckPull(const ChunkRequest& request) const {
  const uint64_t last_version = plan_->synchronous() ? plan_->steps() : plan_->steps() * plan_->worker_count();
  if (request.min_version > last_version) return OutOfRange("pull of version", request.min_version, last_version);
  if (request.min_clock > plan_->steps()) return OutOfRange("pull of clock", request.min_clock, plan_->steps());
  if (waiting_.size() >= kMaxWaitingPerWorker * plan_->worker_count()) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_WAITING",
                     absl::StrCat(waiting_.size(), " pulls wait on chunk ", index_, " already"));
  }
  return absl::OkStatus();
}

void Chunk::Pull(const ChunkRequest& request, bool duplicate, ChunkActions& actions) {
  if (!request.push) {  // Else checked before the push was taken.
    absl::Status status = CheckPull(request);
    if (!status.ok()) {
      actions.answers.push_back(MakeAnswer(request, false, std::move(status)));
      return;
    }
  }
  uint64_t min_clock = request.min_clock;
  if (plan_->mode() == v1::SYNC_MODE_SSP) {
    // The bound holds whatever the client asks for.
    const uint64_t own = clocks_[request.worker];
    const uint64_t staleness = plan_->spec.sync().staleness();
    min_clock = std::max(min_clock, own > staleness ? own - staleness : 0);
  }
  if (Ready(request.min_version, min_clock)) {
    actions.answers.push_back(MakeAnswer(request, duplicate, absl::OkStatus()));
    actions.answers.back().snapshot = snapshot_;
    return;
  }
  waiting_.push_back({.key = request.key,
                      .worker = request.worker,
                      .min_version = request.min_version,
                      .min_clock = min_clock,
                      .duplicate = duplicate,
                      .received = request.received,
                      .deadline = request.deadline});
}

void Chunk::Apply(absl::Span<const float> gradient, float average, float clip, double learning_rate) {
  ++updates_;
  const float* old_weights = snapshot_->weights().data();
  Buffer weights = pool_->Take(elements_);
  const int64_t chunk_begin = plan_->arena.ChunkRange(index_).begin;
  int64_t end_of_last = 0;
  for (const ChunkSegment& segment : segments_) {
    const int64_t begin = segment.arena.begin - chunk_begin, size = segment.arena.size();
    std::fill(weights.data() + end_of_last, weights.data() + begin, 0.0f);  // Padding.
    end_of_last = begin + size;
    const ParameterSettings& settings = plan_->settings[segment.parameter];
    plan_->optimizer->Update({.gradient = gradient.subspan(begin, size),
                              .average = average,
                              .clip = clip,
                              .weights = absl::MakeConstSpan(old_weights + begin, size),
                              .new_weights = weights.span().subspan(begin, size),
                              .state = state_.data() + begin,
                              .state_stride = elements_,
                              .learning_rate = learning_rate * settings.learning_rate_scale,
                              .weight_decay = settings.weight_decay,
                              .update = updates_});
  }
  std::fill(weights.data() + end_of_last, weights.data() + elements_, 0.0f);
  ++version_;
  Publish(std::move(weights));
}

void Chunk::Publish(Buffer weights) { snapshot_ = std::make_shared<const Snapshot>(version_, std::move(weights)); }

void Chunk::PublishUnchanged() {
  Buffer weights = pool_->Take(elements_);
  std::copy_n(snapshot_->weights().data(), elements_, weights.data());
  ++version_;
  Publish(std::move(weights));
}

uint64_t Chunk::slowest_clock() const {
  return plan_->synchronous() ? version_ : *std::min_element(clocks_.begin(), clocks_.end());
}

bool Chunk::Ready(uint64_t min_version, uint64_t min_clock) const {
  return version_ >= min_version && slowest_clock() >= min_clock;
}

void Chunk::AnswerReady(ChunkActions& actions) {
  auto still_waiting = waiting_.begin();
  for (Waiting& waiting : waiting_) {
    if (Ready(waiting.min_version, waiting.min_clock)) {
      actions.answers.push_back(MakeAnswer(waiting, waiting.duplicate, absl::OkStatus()));
      actions.answers.back().snapshot = snapshot_;
    } else {
      *still_waiting++ = waiting;
    }
  }
  waiting_.erase(still_waiting, waiting_.end());
}

void Chunk::Tick(absl::Time now, ChunkActions& actions) {
  auto still_waiting = waiting_.begin();
  for (Waiting& waiting : waiting_) {
    if (waiting.deadline <= now) {
      actions.answers.push_back(MakeAnswer(waiting, waiting.duplicate, DeadlineExceeded(waiting)));
    } else {
      *still_waiting++ = waiting;
    }
  }
  waiting_.erase(still_waiting, waiting_.end());
}

absl::Time Chunk::next_deadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Waiting& waiting : waiting_) next = std::min(next, waiting.deadline);
  return next;
}

void Chunk::DropStream(uint64_t stream) {
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(),
                                [stream](const Waiting& waiting) { return waiting.key.stream == stream; }),
                 waiting_.end());
}

void Chunk::Fail(const absl::Status& status, ChunkActions& actions) {
  if (!failure_.ok()) return;  // The first failure is the one to report.
  failure_ = status;
  for (const Waiting& waiting : waiting_) {
    actions.answers.push_back(MakeAnswer(waiting, waiting.duplicate, status));
  }
  waiting_.clear();
  ledger_.Reset();
  awaiting_norm_ = false;
}

template <typename Request>
Answer Chunk::MakeAnswer(const Request& request, bool duplicate, absl::Status status) const {
  return {.key = request.key,
          .received = request.received,
          .status = std::move(status),
          .chunk = static_cast<uint32_t>(index_),
          .duplicate = duplicate,
          .version = version_,
          .min_clock = slowest_clock()};
}

absl::Status Chunk::NonFinite(uint64_t step) const {
  return MakeError(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT",
                   absl::StrCat("the gradient of step ", step, " is not finite (seen at chunk ", index_, ")"),
                   {{"step", absl::StrCat(step)}, {"chunk", absl::StrCat(index_)}});
}

absl::Status Chunk::DeadlineExceeded(const Waiting& waiting) const {
  return MakeError(
      absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
      absl::StrCat("pull of chunk ", index_, " (version ", version_, ", asked for ", waiting.min_version, "; clock ",
                   slowest_clock(), ", asked for ", waiting.min_clock, ") waited for ", Awaited(waiting)));
}

std::string Chunk::Awaited(const Waiting& waiting) const {
  if (awaiting_norm_) return "the gradient norm of the other servers";
  const std::vector<SlotRange> missing = plan_->synchronous() ? ledger_.Missing() : std::vector<SlotRange>();
  std::vector<std::string> names;
  for (uint32_t worker = 0; worker < plan_->worker_count(); ++worker) {
    const v1::WorkerPlacement& placed = plan_->placement.workers(worker);
    const uint32_t begin = placed.first_slot(), end = begin + placed.slot_count();
    bool awaited = !plan_->synchronous() && clocks_[worker] < waiting.min_clock;
    for (const SlotRange& range : missing) awaited |= range.first < end && begin < range.first + range.count;
    if (awaited) names.push_back(placed.node_id());
  }
  return names.empty() ? "pushes of any worker" : absl::StrCat("worker ", absl::StrJoin(names, ", "));
}

}  // namespace paramd
