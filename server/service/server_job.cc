#include "server/service/server_job.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {

namespace {

constexpr absl::Duration kProgressInterval = absl::Seconds(1);
constexpr size_t kMaxWaitersPerServer = 16;

std::vector<uint32_t> LocalChunks(const JobPlan& plan) {
  return std::vector<uint32_t>(plan.local_chunks.begin(), plan.local_chunks.end());
}

std::vector<uint32_t> AllChunks(const JobPlan& plan) {
  std::vector<uint32_t> chunks(plan.arena.chunk_count());
  std::iota(chunks.begin(), chunks.end(), 0);
  return chunks;
}

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
    : environment_(environment),
      on_gone_(std::move(on_gone)),
      metrics_(environment.metrics, *plan),
      shard_(plan),
      chunks_to_initialize_(static_cast<int64_t>(shard_.chunks().size())),
      local_norms_(LocalChunks(*plan)) {
  if (plan->is_lead()) all_norms_.emplace(AllChunks(*plan));
  if (!plan->is_lead() && plan->needs_total_norm()) {
    exchange_ = std::make_unique<NormExchange>(
        NormExchangeOptions{.lead = environment.channels.Get(plan->placement.servers(0).address()),
                            .job_id = plan->job_id,
                            .generation = plan->generation,
                            .server_index = plan->server_index,
                            .timeout = environment.norm_timeout});
  }
}

ServerJob::~ServerJob() {
  if (on_gone_) on_gone_();
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
  ChunkActions actions;
  const absl::Time start = environment_.clock.Now();
  chunk.Handle(request, actions);
  const absl::Time end = environment_.clock.Now();
  if (request.push) {
    metrics_.push_duration.Observe(absl::ToDoubleSeconds(end - request.received));
    metrics_.push_bytes_wire.Increment(static_cast<double>(request.payload.size()));
    metrics_.push_bytes_raw.Increment(static_cast<double>(request.payload.size()));
  }
  if (!actions.applied.empty()) metrics_.apply_duration.Observe(absl::ToDoubleSeconds(end - start));
  Dispatch(chunk, std::move(actions));
}

absl::Time ServerJob::Tick(int thread, absl::Time now) {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& chunk : shard_.chunks()) {
    if (OwnerOf(*chunk) != thread || chunk->waiting() == 0) continue;
    ChunkActions actions;
    chunk->Tick(now, actions);
    Dispatch(*chunk, std::move(actions));
    next = std::min(next, chunk->next_deadline());
  }
  return next;
}

void ServerJob::DropStream(uint64_t stream) {
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk),
                              [self = shared_from_this(), chunk = chunk.get(), stream] { chunk->DropStream(stream); });
  }
}

void ServerJob::GetSnapshot(int index, std::function<void(SnapshotPointer snapshot)> done) {
  Chunk* chunk = shard_.FindChunk(static_cast<uint32_t>(index));
  environment_.threads.Post(OwnerOf(*chunk),
                            [self = shared_from_this(), chunk, done = std::move(done)] { done(chunk->snapshot()); });
}

void ServerJob::Dispatch(Chunk& chunk, ChunkActions actions) {
  CountApplied(chunk, actions);
  const absl::Time now = environment_.clock.Now();
  for (Answer& answer : actions.answers) {
    if (answer.duplicate) metrics_.dropped_duplicate.Increment();
    if (answer.snapshot != nullptr) {
      const double bytes = static_cast<double>(answer.snapshot->payload().size());
      metrics_.pull_duration.Observe(absl::ToDoubleSeconds(now - answer.received));
      metrics_.pull_bytes_wire.Increment(bytes);
      metrics_.pull_bytes_raw.Increment(bytes);
    }
    environment_.answers.Deliver(std::move(answer));
  }
  if (!actions.failure.ok()) Fail(actions.failure);
  if (actions.norm.has_value()) OnLocalNorm(*actions.norm);
  if (!actions.applied.empty()) MaybeReportProgress(chunk, actions.applied.back());
  if (chunk.waiting() > 0) environment_.threads.ScheduleTick(OwnerOf(chunk), chunk.next_deadline());
}

void ServerJob::CountApplied(const Chunk& chunk, const ChunkActions& actions) {
  for (const AppliedStep& applied : actions.applied) {
    if (applied.skipped) {
      metrics_.dropped_non_finite.Increment();
      // A step of sync mode is skipped on all chunks; counted once, by the first.
      if (!plan().synchronous() || chunk.index() == plan().local_chunks.front()) ++skipped_;
    } else {
      metrics_.updates_applied.Increment();
    }
    if (!plan().synchronous()) metrics_.staleness.Observe(static_cast<double>(applied.staleness));
    metrics_.global_step.Set(static_cast<double>(chunk.slowest_clock()));
  }
}

void ServerJob::MaybeReportProgress(const Chunk& chunk, const AppliedStep& applied) {
  if (!plan().is_lead() || ended_) return;
  v1::ServerProgress progress;
  {
    absl::MutexLock lock(&progress_mutex_);
    const absl::Time now = environment_.clock.Now();
    const bool ends = chunk.slowest_clock() >= plan().steps() && chunk.index() == plan().local_chunks.front();
    if (now - last_report_ < kProgressInterval && !ends) return;
    last_report_ = now;
  }
  {
    absl::MutexLock lock(&norm_mutex_);
    progress.set_gradient_norm(std::sqrt(last_squared_norm_));
  }
  progress.set_step(chunk.slowest_clock());
  progress.set_learning_rate(applied.learning_rate);
  progress.set_non_finite_skipped(skipped_);
  environment_.on_progress(plan(), progress);
}

void ServerJob::OnLocalNorm(const StepNorm& norm) {
  std::vector<v1::ChunkNorm> norms;
  {
    absl::MutexLock lock(&norm_mutex_);
    // Only this server's chunks come here, each step by step: an error would be one of ours.
    if (absl::Status status = local_norms_.Add(norm.step, norm.chunk, norm.squared_norm); !status.ok()) {
      if (plan().needs_total_norm()) environment_.on_failed(plan(), status);
      return;
    }
    if (!local_norms_.Total(norm.step).has_value()) return;
    norms = NormsOf(local_norms_, norm.step);
  }
  if (plan().is_lead()) {
    const bool is_only_server = plan().placement.servers_size() == 1;
    if (!plan().needs_total_norm() && !is_only_server) return;
    if (absl::Status status = AddToTotal(norm.step, norms); !status.ok()) Fail(status);
    return;
  }
  if (exchange_ == nullptr || ended_) return;
  exchange_->Send(norm.step, norms, [weak = weak_from_this(), step = norm.step](absl::StatusOr<double> total) {
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
  RETURN_IF_ERROR(shard_.CheckGeneration(request.generation()));
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
  }
  if (!plan().needs_total_norm()) return;
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk), [self = shared_from_this(), chunk = chunk.get(), step, squared_norm] {
      ChunkActions actions;
      const absl::Time start = self->environment_.clock.Now();
      chunk->OnTotalNorm(step, squared_norm, actions);
      self->metrics_.apply_duration.Observe(absl::ToDoubleSeconds(self->environment_.clock.Now() - start));
      self->Dispatch(*chunk, std::move(actions));
    });
  }
}

void ServerJob::Fail(const absl::Status& status) {
  if (ended_.exchange(true)) return;
  FailChunks(status);
  environment_.on_failed(plan(), status);
}

void ServerJob::Release(const absl::Status& status) {
  if (!ended_.exchange(true)) FailChunks(status);
}

void ServerJob::FailChunks(const absl::Status& status) {
  std::map<uint64_t, Waiter> waiters;
  {
    absl::MutexLock lock(&norm_mutex_);
    waiters.swap(waiters_);
  }
  for (auto& [number, waiter] : waiters) waiter.done(status);
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk), [self = shared_from_this(), chunk = chunk.get(), status] {
      ChunkActions actions;
      chunk->Fail(status, actions);
      for (Answer& answer : actions.answers) self->environment_.answers.Deliver(std::move(answer));
    });
  }
}

}  // namespace paramd
