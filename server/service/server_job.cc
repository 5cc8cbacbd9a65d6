#include "server/service/server_job.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace paramd {

namespace {

constexpr int64_t kProgressIntervalMs = 1000;
constexpr size_t kMaxWaitersPerServer = 16;

std::vector<uint32_t> LocalChunks(const JobPlan& plan) {
  return std::vector<uint32_t>(plan.local_chunks.begin(), plan.local_chunks.end());
}

std::vector<uint32_t> AllChunks(const JobPlan& plan) {
  std::vector<uint32_t> chunks(plan.arena.chunk_count());
  std::iota(chunks.begin(), chunks.end(), 0);
  return chunks;
}

size_t RawBytes(const Chunk& chunk) { return static_cast<size_t>(chunk.elements()) * sizeof(float); }

std::vector<v1::ChunkNorm> NormsOf(const NormTable& table, uint64_t step) {
  std::vector<v1::ChunkNorm> norms(table.chunks().size());
  for (size_t i = 0; i < norms.size(); ++i) {
    norms[i].set_chunk(table.chunks()[i]);
    norms[i].set_squared_norm(table.Norms(step)[i]);
  }
  return norms;
}

}  // namespace

ServerJob::ServerJob(std::shared_ptr<const JobPlan> plan, const ServerJobEnvironment& environment,
                     std::function<void()> on_gone)
    : gone_notice_{std::move(on_gone)},
      environment_(environment),
      metrics_(environment.metrics, *plan),
      shard_(plan),
      capture_(shard_.chunks().size(), plan->synchronous()),
      owners_(environment.threads.count()),
      trace_({.chunks = plan->local_chunks, .steps = plan->steps(), .synchronous = plan->synchronous()}),
      chunks_to_initialize_(static_cast<int64_t>(shard_.chunks().size())),
      local_norms_(LocalChunks(*plan), plan->first_step) {
  for (const auto& chunk : shard_.chunks()) StateOf(*chunk).chunks.push_back(chunk.get());
  for (OwnerState& owner : owners_) owner.norms.reserve(owner.chunks.size());
  if (plan->is_lead()) all_norms_.emplace(AllChunks(*plan), plan->first_step);
  if (!plan->is_lead() && plan->needs_total_norm()) {
    exchange_ = std::make_unique<NormExchange>(
        NormExchangeOptions{.lead = environment.channels.Get(plan->placement.servers(0).address()),
                            .job_id = plan->job_id,
                            .generation = plan->generation,
                            .server_index = plan->server_index,
                            .timeout = environment.norm_timeout,
                            .lease = environment.lease});
  }
}

ServerJob::~ServerJob() {
  for (OwnerState& owner : owners_) owner.stats.Flush(metrics_);  // No thread is at it any more.
}

void ServerJob::Initialize(std::function<void()> done) {
  if (shard_.chunks().empty()) {  // More servers than chunks: nothing to hold.
    environment_.threads.Post(0, std::move(done));
    return;
  }
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk), [self = shared_from_this(), chunk = chunk.get(), done] {
      chunk->Initialize();
      if (--self->chunks_to_initialize_ == 0) done();
    });
  }
}

void ServerJob::Handle(const ChunkRequest& request) {
  Chunk& chunk = *shard_.FindChunk(request.chunk);
  OwnerState& owner = StateOf(chunk);
  const absl::Time start = environment_.clock.Now();
  const int64_t start_ns = trace_.Now();
  if (request.push) PassFailpoint(Failpoint::kServerHandle);
  chunk.Handle(request, owner.actions);
  if (request.push) PassFailpoint(Failpoint::kServerHandled);
  const absl::Time end = environment_.clock.Now();
  if (request.push) RecordSpan(chunk, owner.actions.applied.empty() ? "sum" : "apply", request.step, start_ns);
  if (request.push) {
    const TransferSize size = {.wire_bytes = request.payload.size(), .raw_bytes = RawBytes(chunk)};
    owner.stats.CountPush(request.codec, request.key.origin->push_transport(), size, end - request.received);
  }
  if (!owner.actions.applied.empty()) owner.stats.CountApply(end - start);
  if (request.push) CountRefused(owner);
  Dispatch(chunk, owner);
}

void ServerJob::CountRefused(const OwnerState& owner) {
  if (owner.actions.answers.empty() || owner.actions.answers.back().status.ok()) return;
  const std::string reason = ErrorReason(owner.actions.answers.back().status);
  if (reason == "GENERATION_FENCED" || reason == "INCARNATION_FENCED") metrics_.dropped_fenced.Increment();
}

absl::Time ServerJob::Tick(int thread, absl::Time now) {
  OwnerState& owner = owners_[thread];
  absl::Time next = absl::InfiniteFuture();
  for (Chunk* chunk : owner.chunks) {
    if (chunk->waiting() == 0) continue;
    chunk->Tick(now, owner.actions);
    Dispatch(*chunk, owner);
    next = std::min(next, chunk->next_deadline());
  }
  owner.stats.Flush(metrics_);
  return next;
}

void ServerJob::DropStream(uint64_t stream) {
  for (int thread = 0; thread < environment_.threads.count(); ++thread) {
    if (owners_[thread].chunks.empty()) continue;
    environment_.threads.Post(thread, [self = shared_from_this(), &owner = owners_[thread], stream] {
      for (Chunk* chunk : owner.chunks) chunk->DropStream(stream);
    });
  }
}

void ServerJob::GetSnapshot(int index, std::function<void(SnapshotPointer snapshot)> done) {
  Chunk* chunk = shard_.FindChunk(static_cast<uint32_t>(index));
  environment_.threads.Post(OwnerOf(*chunk),
                            [self = shared_from_this(), chunk, done = std::move(done)] { done(chunk->snapshot()); });
}

void ServerJob::PostToChunks(std::function<void(Chunk& chunk, ChunkActions& actions)> event) {
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk), [self = shared_from_this(), &chunk = *chunk, event] {
      OwnerState& owner = self->StateOf(chunk);
      const absl::Time start = self->environment_.clock.Now();
      const int64_t start_ns = self->trace_.Now();
      event(chunk, owner.actions);
      if (!owner.actions.applied.empty()) {
        self->RecordSpan(chunk, "apply", owner.actions.applied.back().step, start_ns);
      }
      if (!owner.actions.applied.empty()) owner.stats.CountApply(self->environment_.clock.Now() - start);
      self->Dispatch(chunk, owner);
    });
  }
}

void ServerJob::Dispatch(Chunk& chunk, OwnerState& owner) {
  ChunkActions& actions = owner.actions;
  if (!actions.applied.empty()) PassFailpoint(Failpoint::kServerApplied);
  CountApplied(chunk, owner);
  // Before the answers: nobody gets to the next step before this one's norms are known.
  if (actions.norm.has_value()) OnLocalNorm(*actions.norm, owner);
  const int64_t start_ns = actions.answers.empty() ? 0 : trace_.Now();
  Deliver(chunk, owner);
  if (!actions.applied.empty()) {
    RecordSpan(chunk, "answer", actions.applied.back().step, start_ns);
    trace_.OnApplied(chunk.index(), chunk.slowest_clock());
    if (capture_.wanted()) capture_.Offer(chunk);
  }
  if (!actions.failure.ok()) Fail(actions.failure);
  if (!actions.applied.empty()) MaybeReportProgress(chunk, actions.applied.back());
  if (chunk.waiting() > 0) environment_.threads.ScheduleTick(OwnerOf(chunk), chunk.next_deadline());
  actions.Clear();
}

void ServerJob::RecordSpan(const Chunk& chunk, const char* name, uint64_t step, int64_t start_ns) {
  if (start_ns == 0) return;  // Nothing was recorded then.
  trace_.recorder().Record({.lane = {"owner", OwnerOf(chunk)},
                            .name = name,
                            .start_ns = start_ns,
                            .end_ns = TraceClockNanos(),
                            .step = step,
                            .chunk = chunk.index()});
}

void ServerJob::CollectTrace(const TraceRequest& request, TraceRecorder::Done done) {
  trace_.Collect(request, std::move(done));
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk), [self = shared_from_this(), chunk = chunk.get()] {
      self->trace_.OnChunk(chunk->index(), chunk->slowest_clock());
    });
  }
}

void ServerJob::Deliver(const Chunk& chunk, OwnerState& owner) {
  if (owner.actions.answers.empty()) return;
  const absl::Time now = environment_.clock.Now();
  for (Answer& answer : owner.actions.answers) {
    const std::shared_ptr<RequestOrigin> origin = std::move(answer.key.origin);
    if (answer.duplicate) owner.stats.CountDuplicate();
    if (answer.snapshot != nullptr) {
      const TransferSize size = {.wire_bytes = AnswerBytes(answer.answer_codec, chunk.elements()),
                                 .raw_bytes = RawBytes(chunk)};
      owner.stats.CountPull(answer.answer_codec, origin->pull_transport(), size, now - answer.received);
    }
    origin->Deliver(std::move(answer));
  }
}

void ServerJob::CountApplied(const Chunk& chunk, OwnerState& owner) {
  for (const AppliedStep& applied : owner.actions.applied) {
    if (applied.skipped) {
      owner.stats.CountNonFinite();
      // A step of sync mode is skipped on all chunks; counted once, by the first.
      if (!plan().synchronous() || chunk.index() == plan().local_chunks.front()) ++skipped_;
    } else {
      owner.stats.CountUpdate();
    }
    if (!plan().synchronous()) owner.stats.CountStaleness(applied.staleness);
    owner.stats.SetGlobalStep(chunk.slowest_clock());
  }
}

void ServerJob::MaybeReportProgress(const Chunk& chunk, const AppliedStep& applied) {
  if (!plan().is_lead() || ended_) return;
  const int64_t now = absl::ToUnixMillis(environment_.clock.Now());
  int64_t last = last_report_ms_.load(std::memory_order_relaxed);
  const bool ends = chunk.slowest_clock() >= plan().steps() && chunk.index() == plan().local_chunks.front();
  if (now - last < kProgressIntervalMs && !ends) return;
  // Another thread's report is as good as this one, unless this is the last.
  if (!last_report_ms_.compare_exchange_strong(last, now, std::memory_order_relaxed) && !ends) return;
  v1::ServerProgress progress;
  {
    absl::MutexLock lock(&norm_mutex_);
    progress.set_gradient_norm(std::sqrt(last_squared_norm_));
  }
  progress.set_step(chunk.slowest_clock());
  progress.set_learning_rate(applied.learning_rate);
  progress.set_non_finite_skipped(skipped_);
  environment_.on_progress(plan(), progress);
}

void ServerJob::OnLocalNorm(const StepNorm& norm, OwnerState& owner) {
  if (!reports_norms()) return;
  if (norm.step != owner.norm_step) owner.norms.clear();  // Of a step that nobody waits for, or the last one.
  owner.norm_step = norm.step;
  owner.norms.push_back(norm);
  if (owner.norms.size() == owner.chunks.size()) OnLocalNorms(owner.norms);
}

void ServerJob::OnLocalNorms(const std::vector<StepNorm>& of_thread) {
  const uint64_t step = of_thread.front().step;
  std::vector<v1::ChunkNorm> norms;
  {
    absl::MutexLock lock(&norm_mutex_);
    for (const StepNorm& norm : of_thread) {
      // Only this server's chunks come here, each step by step: an error would be one of ours.
      if (absl::Status status = local_norms_.Add(step, norm.chunk, norm.squared_norm); !status.ok()) {
        if (plan().needs_total_norm()) environment_.on_failed(plan(), status);
        return;
      }
    }
    if (!local_norms_.Total(step).has_value()) return;
    norm_step_ = step;
    norm_since_ns_ = trace_.Now();
    norms = NormsOf(local_norms_, step);
  }
  if (plan().is_lead()) {
    if (absl::Status status = AddToTotal(step, norms); !status.ok()) Fail(status);
    return;
  }
  if (exchange_ == nullptr || ended_) return;
  exchange_->Send(step, norms, [weak = weak_from_this(), step](absl::StatusOr<double> total) {
    const std::shared_ptr<ServerJob> self = weak.lock();
    if (self == nullptr || self->ended_) return;
    if (total.ok()) {
      self->OnTotal(step, *total);
    } else {
      self->Fail(Annotate(total.status(), absl::StrCat("gradient norm of step ", step, " from lead server ",
                                                       self->plan().placement.servers(0).node_id())));
    }
  });
}

absl::StatusOr<uint64_t> ServerJob::ReduceNorm(const v1::ReduceNormRequest& request, TotalNorm done) {
  if (!plan().is_lead() || !plan().needs_total_norm()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NOT_LEAD",
                     absl::StrCat("server ", plan().server_index, " adds up no norms for job ", plan().job_id));
  }
  RETURN_IF_ERROR(shard_.CheckServerGeneration(request.generation()));
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kServerNormReceive));
  uint64_t number = 0;
  {
    absl::MutexLock lock(&norm_mutex_);
    if (waiters_.size() >= kMaxWaitersPerServer * plan().placement.servers_size()) {
      return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_WAITING",
                       absl::StrCat(waiters_.size(), " servers wait for the norm already"));
    }
    number = next_waiter_++;
    waiters_.emplace(number, Waiter{.step = request.step(), .done = std::move(done)});
  }
  const std::vector<v1::ChunkNorm> norms(request.norms().begin(), request.norms().end());
  if (absl::Status status = AddToTotal(request.step(), norms); !status.ok()) {
    CancelTotal(number);
    return status;
  }
  return number;
}

void ServerJob::CancelTotal(uint64_t number) {
  absl::MutexLock lock(&norm_mutex_);
  waiters_.erase(number);
}

absl::Status ServerJob::AddToTotal(uint64_t step, const std::vector<v1::ChunkNorm>& norms) {
  std::optional<double> total;
  std::vector<TotalNorm> ready;
  bool completed = false;
  {
    absl::MutexLock lock(&norm_mutex_);
    const bool known_before = all_norms_->Total(step).has_value();
    for (const v1::ChunkNorm& norm : norms) {
      RETURN_IF_ERROR(all_norms_->Add(step, norm.chunk(), norm.squared_norm()));
    }
    total = all_norms_->Total(step);
    if (!total.has_value()) return absl::OkStatus();
    completed = !known_before;
    for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
      if (waiter->second.step != step) {
        ++waiter;
        continue;
      }
      ready.push_back(std::move(waiter->second.done));
      waiter = waiters_.erase(waiter);
    }
  }
  for (const TotalNorm& done : ready) done(*total);
  if (completed) OnTotal(step, *total);
  return absl::OkStatus();
}

void ServerJob::OnTotal(uint64_t step, double squared_norm) {
  {
    absl::MutexLock lock(&norm_mutex_);
    if (std::isfinite(squared_norm)) last_squared_norm_ = squared_norm;
    if (plan().needs_total_norm() && norm_step_ == step && norm_since_ns_ != 0) {
      trace_.recorder().Record(
          {.lane = {"norm"}, .name = "norm", .start_ns = norm_since_ns_, .end_ns = TraceClockNanos(), .step = step});
    }
  }
  if (!plan().needs_total_norm()) return;
  PassFailpoint(Failpoint::kServerNormTotal);
  PostToChunks(
      [step, squared_norm](Chunk& chunk, ChunkActions& actions) { chunk.OnTotalNorm(step, squared_norm, actions); });
}

void ServerJob::Fail(const absl::Status& status) {
  if (ended_.exchange(true)) return;
  FailChunks(status);
  trace_.End();
  environment_.on_failed(plan(), status);
}

void ServerJob::Release(const absl::Status& status) {
  if (!ended_.exchange(true)) FailChunks(status);
  trace_.End();
}

void ServerJob::FailChunks(const absl::Status& status) {
  std::map<uint64_t, Waiter> waiters;
  {
    absl::MutexLock lock(&norm_mutex_);
    waiters.swap(waiters_);
  }
  for (auto& [number, waiter] : waiters) waiter.done(status);
  PostToChunks([status](Chunk& chunk, ChunkActions& actions) { chunk.Fail(status, actions); });
}

}  // namespace paramd
