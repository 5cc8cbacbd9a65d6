#include "server/store/chunk.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/partition/codec_plan.h"

namespace paramd {

namespace {

// As torch.nn.utils.clip_grad_norm_.
constexpr double kClipEpsilon = 1e-6;

float ClipFactor(double clip_norm, double squared_norm) {
  if (clip_norm <= 0) return 1;
  return static_cast<float>(std::min(1.0, clip_norm / (std::sqrt(squared_norm) + kClipEpsilon)));
}

v1::Codec AnswerCodec(v1::Codec asked) { return asked == v1::CODEC_BF16 ? v1::CODEC_BF16 : v1::CODEC_FP32; }

absl::Status OutOfRange(absl::string_view what, uint64_t got, uint64_t limit) {
  return MakeError(absl::StatusCode::kInvalidArgument, "STEP_OUT_OF_RANGE",
                   absl::StrCat(what, " ", got, " is beyond the job's end at ", limit));
}

}  // namespace

Chunk::Chunk(std::shared_ptr<const JobPlan> plan, int index, std::shared_ptr<BufferPool> pool)
    : plan_(std::move(plan)),
      index_(index),
      pool_(std::move(pool)),
      weights_(plan_, index, pool_),
      members_(plan_->members),
      ledger_(plan_->tree, weights_.elements(), *pool_),
      clocks_(members_->count(), 0),
      may_jump_(members_->count(), false) {}

void Chunk::Initialize() { weights_.Initialize(); }

absl::Status Chunk::Restore(const SavedChunk& saved) {
  const size_t elements = static_cast<size_t>(weights_.elements());
  if (saved.weights.size() != elements || saved.state.size() != elements * plan_->optimizer->state_count()) {
    return MakeError(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID",
                     absl::StrCat("chunk ", index_, " was saved with ", saved.weights.size(), " weights and ",
                                  saved.state.size(), " values of optimizer state, it has ", elements, " elements"));
  }
  uint64_t version = plan_->first_step;
  if (!plan_->synchronous()) {
    const bool same_workers = saved.clocks.size() == clocks_.size();
    clocks_ = same_workers ? saved.clocks : std::vector<uint64_t>(clocks_.size(), plan_->first_step);
    version = same_workers ? saved.version : plan_->first_step * clocks_.size();
  }
  weights_.Restore(version, saved.updates, saved.weights, saved.state);
  return absl::OkStatus();
}

ChunkCapture Chunk::Capture() const {
  return {.chunk = static_cast<uint32_t>(index_),
          .version = version(),
          .updates = weights_.updates(),
          .clocks = plan_->synchronous() ? std::vector<uint64_t>() : clocks_,
          .weights = snapshot(),
          .state = weights_.CopyState()};
}

void Chunk::Handle(const ChunkRequest& request, ChunkActions& actions) {
  if (!failure_.ok()) {
    actions.answers.push_back(MakeAnswer(request, false, failure_));
    return;
  }
  if (absl::Status status = members_->Check(request.generation, request.worker, request.worker_incarnation);
      !status.ok()) {
    actions.answers.push_back(MakeAnswer(request, false, std::move(status)));
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
  targets_.clear();
}

absl::StatusOr<bool> Chunk::Push(const ChunkRequest& request, ChunkActions& actions) {
  if (request.pull) RETURN_IF_ERROR(CheckPull(request));  // Refused as a whole, or taken as a whole.
  RETURN_IF_ERROR(CheckPush(request));
  return plan_->synchronous() ? PushSync(request, actions) : PushClocked(request, actions);
}

absl::Status Chunk::CheckPush(const ChunkRequest& request) const {
  if (request.codec != v1::CODEC_FP32 && request.codec != plan_->codecs.CodecOf(index_)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                     absl::StrCat("push to chunk ", index_, " in codec ", request.codec, ", the job's is ",
                                  v1::Codec_Name(plan_->codecs.CodecOf(index_))));
  }
  const size_t bytes_per_element = GradientPayload::BytesPerElement(request.codec);
  if (bytes_per_element > 0 && request.payload.size() != static_cast<size_t>(elements()) * bytes_per_element) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat("push of ", request.payload.size(), " bytes to chunk ", index_, " of ",
                                  elements() * bytes_per_element));
  }
  if (request.step >= plan_->steps()) return OutOfRange("push of step", request.step, plan_->steps());
  return absl::OkStatus();
}

absl::StatusOr<GradientPayload> Chunk::Decode(const ChunkRequest& request, Buffer& decoded) const {
  if (GradientPayload::BytesPerElement(request.codec) > 0) {
    return GradientPayload{.bytes = request.payload, .codec = request.codec};
  }
  const size_t size = request.payload.size();
  if (size > plan_->codecs.MaxEncodedBytes(index_)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD",
                     absl::StrCat("push of ", size, " bytes to chunk ", index_, ", at most ",
                                  plan_->codecs.MaxEncodedBytes(index_)));
  }
  // Memory that a client shares may change at any time: what was checked must be what is used. Small next to fp32.
  Buffer copy = pool_->Take(static_cast<int64_t>((size + sizeof(float) - 1) / sizeof(float)));
  char* end = reinterpret_cast<char*>(copy.data());
  for (size_t i = 0; i < request.payload.fragment_count(); ++i) {
    const absl::string_view fragment = request.payload.fragment(i);
    end = std::copy(fragment.begin(), fragment.end(), end);
  }
  decoded = pool_->Take(elements());
  RETURN_IF_ERROR(
      DecodeChunk(plan_->codecs, index_, request.codec, AsBytes(copy.span()).substr(0, size), decoded.span()));
  return GradientPayload{.bytes = PayloadView(AsBytes(decoded.span()))};
}

absl::StatusOr<bool> Chunk::PushSync(const ChunkRequest& request, ChunkActions& actions) {
  if (request.step > version()) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "STEP_AHEAD",
        absl::StrCat("push of step ", request.step, " to chunk ", index_, " whose open step is ", version()),
        {{"version", absl::StrCat(version())}});
  }
  if (!plan_->tree.Valid(request.subtree) || plan_->tree.SlotsIn(request.subtree) != request.slot_count) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE",
                     absl::StrCat("no subtree of ", request.slot_count, " slots (2^", request.subtree.log2_size,
                                  ") at slot ", request.subtree.first_slot, " of ", plan_->slots()));
  }
  if (request.step < version()) return true;
  ASSIGN_OR_RETURN(const Ledger::Place place, ledger_.Find(request.subtree));
  if (place.duplicate) return true;
  Buffer decoded;
  ASSIGN_OR_RETURN(const GradientPayload payload, Decode(request, decoded));
  previous_ = nullptr;  // Whoever pushes has all weights of this step: nobody has to do anything with those before.
  if (place.completes) {
    RETURN_IF_ERROR(CompleteStep(place, payload, request, actions));
  } else {
    ledger_.Store(place, payload);
  }
  return false;
}

absl::Status Chunk::CompleteStep(const Ledger::Place& place, const GradientPayload& payload,
                                 const ChunkRequest& request, ChunkActions& actions) {
  const uint64_t step = version();
  SquaredNormSum norm(1.0f / static_cast<float>(plan_->slots()));
  bool finite = true;
  if (plan_->needs_total_norm()) {
    ledger_.Store(place, payload, &norm);
    awaiting_norm_ = true;
  } else {
    const AppliedStep applied = {.step = step, .learning_rate = plan_->schedule.LearningRate(step)};
    GradientBlocks gradient = ledger_.SumWith(place, payload);
    finite = Apply(gradient, {.average = norm.average(), .learning_rate = applied.learning_rate, .norm = &norm},
                   &request, applied, actions);
    ledger_.Reset();
  }
  actions.norm = StepNorm{.step = step, .chunk = static_cast<uint32_t>(index_), .squared_norm = norm.Total()};
  return finite ? absl::OkStatus() : FailNonFinite(step, actions);
}

void Chunk::OnTotalNorm(uint64_t step, double squared_norm, ChunkActions& actions) {
  if (!awaiting_norm_ || step != version() || !failure_.ok()) return;
  if (!std::isfinite(squared_norm) && plan_->fails_on_non_finite()) {
    actions.failure = NonFinite(step);
    return;
  }
  awaiting_norm_ = false;
  const AppliedStep applied = {.step = step, .learning_rate = plan_->schedule.LearningRate(step)};
  if (std::isfinite(squared_norm)) {
    GradientBlocks gradient({PayloadView(AsBytes(ledger_.sum()))});
    Apply(gradient,
          {.average = 1.0f / static_cast<float>(plan_->slots()),
           .clip = ClipFactor(plan_->spec.optimizer().clip_norm(), squared_norm),
           .learning_rate = applied.learning_rate},
          nullptr, applied, actions);
  } else {
    Skip(applied, actions);
  }
  ledger_.Reset();
  targets_.clear();
}

absl::StatusOr<bool> Chunk::PushClocked(const ChunkRequest& request, ChunkActions& actions) {
  uint64_t& clock = clocks_[request.worker];
  // As many as the worker had when its clock began: it may have others by now.
  if (request.slot_count < 1 || request.slot_count > plan_->slots()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SUBTREE",
                     absl::StrCat("push of ", request.slot_count, " slots by worker ", request.worker, ", the job has ",
                                  plan_->slots()));
  }
  if (request.step < clock) return true;
  if (request.step > clock && !may_jump_[request.worker]) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP",
                     absl::StrCat("push of clock ", request.step, " by worker ", request.worker, " to chunk ", index_,
                                  ", expected ", clock),
                     {{"expected", absl::StrCat(clock)}});
  }
  Buffer decoded;
  ASSIGN_OR_RETURN(const GradientPayload payload, Decode(request, decoded));
  clock = request.step;
  may_jump_[request.worker] = false;
  const AppliedStep applied = {
      .step = clock, .learning_rate = plan_->schedule.LearningRate(clock), .staleness = clock - slowest_clock()};
  ++clock;
  SquaredNormSum norm(1.0f / static_cast<float>(request.slot_count));
  // Only a failure may spoil the state: to skip a step, its norm must be known first.
  if (!plan_->fails_on_non_finite() && !std::isfinite(SquaredNorm(payload, norm.average()))) {
    Skip(applied, actions);
    return false;
  }
  GradientBlocks gradient(payload);
  const ChunkWeights::Step step = {.average = norm.average(), .learning_rate = applied.learning_rate, .norm = &norm};
  if (!Apply(gradient, step, &request, applied, actions)) return FailNonFinite(applied.step, actions);
  return false;
}

bool Chunk::Apply(GradientBlocks& gradient, ChunkWeights::Step step, const ChunkRequest* pulling,
                  const AppliedStep& applied, ChunkActions& actions) {
  step.bf16 = CollectTargets(pulling);
  step.targets = targets_;
  SnapshotPointer previous = plan_->synchronous() ? snapshot() : nullptr;
  if (!weights_.Apply(gradient, step)) return false;
  previous_ = std::move(previous);
  actions.applied.push_back(applied);
  AnswerReady(actions);
  return true;
}

void Chunk::Skip(AppliedStep applied, ChunkActions& actions) {
  applied.skipped = true;
  if (plan_->synchronous()) previous_ = snapshot();
  weights_.Keep();
  actions.applied.push_back(applied);
  AnswerReady(actions);
}

absl::Status Chunk::CheckPull(const ChunkRequest& request) const {
  if (request.answer_codec != v1::CODEC_UNSPECIFIED && request.answer_codec != v1::CODEC_FP32 &&
      request.answer_codec != v1::CODEC_BF16) {
    return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                     absl::StrCat("pull of chunk ", index_, " in codec ", request.answer_codec, "; use FP32 or BF16"));
  }
  const size_t answer_bytes = AnswerBytes(request.answer_codec, elements());
  if (!request.shared_answer.empty() && request.shared_answer.size() * sizeof(float) < answer_bytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID",
                     absl::StrCat("pull of chunk ", index_, " into ", request.shared_answer.size() * sizeof(float),
                                  " bytes of shared memory, the weights have ", answer_bytes));
  }
  // In ssp and async every worker pushes `steps` times, and there are never more workers at a time than slots.
  const uint64_t last_version = plan_->synchronous() ? plan_->steps() : UINT64_MAX;
  if (request.min_version > last_version) return OutOfRange("pull of version", request.min_version, last_version);
  if (request.min_clock > plan_->steps()) return OutOfRange("pull of clock", request.min_clock, plan_->steps());
  if (waiting_.size() >= kMaxWaitingPerWorker * members_->count()) {
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
  const uint64_t min_clock = MinClock(request);
  if (request.exact_version && plan_->synchronous() && version() > request.min_version) {
    const absl::StatusOr<SnapshotPointer> past = PastWeights(request);
    actions.answers.push_back(past.ok() ? MakeWeightsAnswer(request, duplicate, *past)
                                        : MakeAnswer(request, duplicate, past.status()));
    return;
  }
  if (Ready(request.min_version, min_clock, version())) {
    actions.answers.push_back(MakeWeightsAnswer(request, duplicate, snapshot()));
    return;
  }
  waiting_.push_back({.key = request.key,
                      .min_version = request.min_version,
                      .min_clock = min_clock,
                      .duplicate = duplicate,
                      .answer_codec = request.answer_codec,
                      .shared_answer = request.shared_answer,
                      .received = request.received,
                      .deadline = request.deadline});
}

absl::StatusOr<SnapshotPointer> Chunk::PastWeights(const ChunkRequest& request) const {
  if (previous_ != nullptr && previous_->version() == request.min_version) return previous_;
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "VERSION_GONE",
      absl::StrCat("chunk ", index_, " is at version ", version(), " and no longer has ", request.min_version));
}

uint64_t Chunk::MinClock(const ChunkRequest& request) const {
  if (plan_->mode() != v1::SYNC_MODE_SSP) return request.min_clock;
  // The bound holds whatever the client asks for.
  const uint64_t own = clocks_[request.worker];
  const uint64_t staleness = plan_->spec.sync().staleness();
  return std::max(request.min_clock, own > staleness ? own - staleness : 0);
}

uint64_t Chunk::slowest_clock() const {
  return plan_->synchronous() ? version() : *std::min_element(clocks_.begin(), clocks_.end());
}

bool Chunk::Ready(uint64_t min_version, uint64_t min_clock, uint64_t version) const {
  return version >= min_version && (plan_->synchronous() ? version : slowest_clock()) >= min_clock;
}

bool Chunk::CollectTargets(const ChunkRequest* pulling) {
  const uint64_t next = version() + 1;
  bool bf16 = false;
  const auto collect = [&](const auto& wanted, uint64_t min_clock) {
    if (!Ready(wanted.min_version, min_clock, next)) return;
    const v1::Codec codec = AnswerCodec(wanted.answer_codec);
    if (!wanted.shared_answer.empty()) {
      targets_.push_back({.codec = codec, .memory = wanted.shared_answer});
    } else {
      bf16 |= codec == v1::CODEC_BF16;
    }
  };
  for (const Waiting& waiting : waiting_) collect(waiting, waiting.min_clock);
  if (pulling != nullptr && pulling->pull) collect(*pulling, MinClock(*pulling));
  return bf16;
}

void Chunk::AnswerReady(ChunkActions& actions) {
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    if (!Ready(waiting.min_version, waiting.min_clock, version())) return false;
    actions.answers.push_back(MakeWeightsAnswer(waiting, waiting.duplicate, snapshot()));
    return true;
  });
}

void Chunk::Adopt(std::shared_ptr<const JobMembers> members, ChunkActions& actions) {
  if (members->generation <= members_->generation) return;
  std::vector<uint64_t> clocks(members->count(), slowest_clock());
  std::vector<bool> may_jump(members->count(), true);
  for (uint32_t worker = 0; worker < members_->count(); ++worker) {
    const std::optional<uint32_t> index = members->IndexOf(members_->workers[worker]);
    if (!index.has_value()) continue;
    clocks[*index] = clocks_[worker];
    may_jump[*index] = may_jump_[worker];
  }
  const absl::Status fenced = CheckGenerations(members_->generation, members->generation);
  for (const Waiting& waiting : waiting_) actions.answers.push_back(MakeAnswer(waiting, waiting.duplicate, fenced));
  waiting_.clear();
  members_ = std::move(members);
  clocks_ = std::move(clocks);
  may_jump_ = std::move(may_jump);
}

OpenStep Chunk::open_step() const {
  if (!plan_->synchronous()) return {.step = slowest_clock()};
  const uint64_t step = version() + (awaiting_norm_ ? 1 : 0);
  if (step >= plan_->steps()) return {.step = plan_->steps()};
  if (awaiting_norm_) return {.step = step, .missing = {{.first = 0, .count = plan_->slots()}}};
  return {.step = step, .missing = ledger_.Missing()};
}

void Chunk::Tick(absl::Time now, ChunkActions& actions) {
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    if (waiting.deadline > now) return false;
    actions.answers.push_back(MakeAnswer(waiting, waiting.duplicate, DeadlineExceeded(waiting)));
    return true;
  });
}

absl::Time Chunk::next_deadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Waiting& waiting : waiting_) next = std::min(next, waiting.deadline);
  return next;
}

void Chunk::DropStream(uint64_t stream) {
  std::erase_if(waiting_, [stream](const Waiting& waiting) { return waiting.key.stream == stream; });
}

void Chunk::Fail(const absl::Status& status, ChunkActions& actions) {
  if (!failure_.ok()) return;  // The first failure is the one to report.
  failure_ = status;
  for (const Waiting& waiting : waiting_) {
    actions.answers.push_back(MakeAnswer(waiting, waiting.duplicate, status));
  }
  waiting_.clear();
  ledger_.Reset();
  targets_.clear();
  awaiting_norm_ = false;
}

template <typename Request>
Answer Chunk::MakeAnswer(const Request& request, bool duplicate, absl::Status status) const {
  return {.key = request.key,
          .received = request.received,
          .status = std::move(status),
          .chunk = static_cast<uint32_t>(index_),
          .duplicate = duplicate,
          .version = version(),
          .min_clock = slowest_clock(),
          .answer_codec = AnswerCodec(request.answer_codec),
          .shared_answer = request.shared_answer};
}

template <typename Request>
Answer Chunk::MakeWeightsAnswer(const Request& request, bool duplicate, const SnapshotPointer& weights) const {
  Answer answer = MakeAnswer(request, duplicate, absl::OkStatus());
  answer.snapshot = weights;
  answer.version = weights->version();
  if (request.shared_answer.empty()) return answer;
  const WeightsTarget target = {.codec = answer.answer_codec, .memory = answer.shared_answer};
  const bool written = std::any_of(targets_.begin(), targets_.end(), [&](const WeightsTarget& other) {
    return other.memory.data() == target.memory.data() && other.codec == target.codec;
  });
  if (!written) WriteWeights(weights->weights(), 0, target);
  answer.shared_answer_bytes = AnswerBytes(target.codec, elements());
  return answer;
}

absl::Status Chunk::FailNonFinite(uint64_t step, ChunkActions& actions) {
  actions.failure = NonFinite(step);
  Fail(actions.failure, actions);
  return actions.failure;
}

absl::Status Chunk::NonFinite(uint64_t step) const {
  return MakeError(absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT",
                   absl::StrCat("the gradient of step ", step, " is not finite (seen at chunk ", index_, ")"),
                   {{"step", absl::StrCat(step)}, {"chunk", absl::StrCat(index_)}});
}

absl::Status Chunk::DeadlineExceeded(const Waiting& waiting) const {
  return MakeError(
      absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
      absl::StrCat("pull of chunk ", index_, " (version ", version(), ", asked for ", waiting.min_version, "; clock ",
                   slowest_clock(), ", asked for ", waiting.min_clock, ") waited for ", Awaited(waiting)));
}

std::string Chunk::Awaited(const Waiting& waiting) const {
  if (awaiting_norm_) return "the gradient norm of the other servers";
  const std::vector<SlotRange> missing = plan_->synchronous() ? ledger_.Missing() : std::vector<SlotRange>();
  std::vector<std::string> names;
  for (uint32_t worker = 0; worker < members_->count(); ++worker) {
    const JobMember& member = members_->workers[worker];
    const uint32_t begin = member.slots.first, end = begin + member.slots.count;
    bool awaited = !plan_->synchronous() && clocks_[worker] < waiting.min_clock;
    for (const SlotRange& range : missing) awaited |= range.first < end && begin < range.first + range.count;
    if (awaited) names.push_back(member.node_id);
  }
  return names.empty() ? "pushes of any worker" : absl::StrCat("worker ", absl::StrJoin(names, ", "));
}

}  // namespace paramd
