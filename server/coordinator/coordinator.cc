#include "server/coordinator/coordinator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::JobRecord;

constexpr absl::Duration kFlushInterval = absl::Seconds(1);
constexpr absl::Duration kTickStalled = absl::Seconds(5);
constexpr absl::Duration kLongGap = absl::Seconds(1);  // Between two ticks; never taken for a stall below it.
constexpr int kLoadPage = 1000;

}  // namespace

Coordinator::Coordinator(CoordinatorOptions options, Store& store, const Clock& clock, CoordinatorMetrics& metrics)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      store_(store),
      membership_(clock, options_.membership) {}

absl::Status Coordinator::Load() {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(last_ordinal_, store_.LastOrdinal());
  ASSIGN_OR_RETURN(job_counts_, store_.CountJobs());
  JobQuery query{.states = {v1::JOB_STATE_PENDING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED}, .limit = kLoadPage};
  while (true) {
    ASSIGN_OR_RETURN(std::vector<JobRecord> page, store_.ListJobs(query));
    if (page.empty()) break;
    query.below_ordinal = page.back().ordinal();
    for (JobRecord& record : page) {
      ActiveJob& job = active_[record.ordinal()];
      job.record = std::move(record);
      if (job.record.workers_size() > 0) job.tracker.emplace_back(job.record);
    }
  }
  for (auto& [ordinal, job] : active_) {
    RETURN_IF_ERROR(Transition(job, [](JobMachine& machine) { machine.OnCoordinatorRestart(); }));
  }
  const absl::Time now = clock_.Now();
  if (!active_.empty()) {
    grace_until_ = now + options_.membership.lease + options_.restart_grace;
    spdlog::info("read {} unfinished jobs back; their daemons have until {} to register", active_.size(),
                 absl::FormatTime(grace_until_, absl::UTCTimeZone()));
  }
  last_tick_ = now;
  metrics_.SetJobs(job_counts_);
  return absl::OkStatus();
}

absl::Status Coordinator::ApplyToStore(const StoreBatch& batch) {
  const absl::Time start = absl::Now();
  absl::Status status = store_.Apply(batch);
  metrics_.StoreDuration("apply", absl::Now() - start);
  if (!status.ok() && store_status_.ok()) {
    spdlog::error("job store: write failed: {}", EscapeLogMessage(status.message()));
  } else if (status.ok() && !store_status_.ok()) {
    spdlog::info("job store: writes succeed again");
  }
  store_status_ = status;
  return status;
}

// Copies the record, so that nothing has happened when the store refuses it; whoever caused the change tries again.
absl::Status Coordinator::Transition(ActiveJob& job, const std::function<void(JobMachine&)>& change) {
  JobRecord next = job.record;
  JobMachine machine(next, options_.machine, clock_.Now());
  change(machine);
  JobEffects effects = machine.TakeEffects();
  if (effects.changed) {
    StoreBatch batch;
    batch.put_jobs.push_back(next);
    batch.add_events = effects.events;
    RETURN_IF_ERROR(ApplyToStore(batch));
    for (const v1::JobEvent& event : effects.events) {
      const auto level = event.warning() ? spdlog::level::warn : spdlog::level::info;
      spdlog::log(level, "job {}: {}: {}", event.job_id(), event.reason(), EscapeLogMessage(event.message()));
      metrics_.CountEvent(event.reason());
    }
    Commit(job, std::move(next));
  }
  for (const JobCommand& command : effects.commands) SendTo(command.to, command.message);
  return absl::OkStatus();
}

void Coordinator::Commit(ActiveJob& job, JobRecord next) {
  const v1::JobState before = job.record.job().state();
  if (!job.tracker.empty() && job.record.job().generation() != next.job().generation()) {
    job.tracker.front().ChangeWorkers(job.record.job().placement(), next.job().placement());
  }
  job.record = std::move(next);
  job.progress_dirty = false;
  ++job.snapshot_version;
  const v1::Job& now = job.record.job();
  if (now.state() != before) {
    --job_counts_[before];
    ++job_counts_[now.state()];
    metrics_.SetJobs(job_counts_);
    schedule_wanted_ = true;
    if (now.state() == v1::JOB_STATE_RUNNING) {
      job.tracker.clear();  // Of an earlier life, when the job was resumed.
      job.tracker.emplace_back(job.record);
      const bool first = now.generation() == 1;  // Else it waited for something else: to be resumed, for a server.
      if (first) metrics_.QueueWait(FromTimestamp(now.start_time()) - FromTimestamp(now.create_time()));
    }
    if (IsTerminal(now.state())) {
      metrics_.JobCompleted(now.state());
      ended_series_[now.job_id()] = clock_.Now() + options_.series_linger;
    }
  }
  if (!job.tracker.empty()) metrics_.SetProgress(now.job_id(), now.progress());
  if (!job.tracker.empty()) metrics_.SetMembers(now.job_id(), now.generation(), now.placement().workers_size());
  NotifyWatchers(now.job_id());
}

Coordinator::ActiveJob* Coordinator::FindActive(const std::string& job_id) {
  for (auto& [ordinal, job] : active_) {
    if (job.record.job().job_id() == job_id) return &job;
  }
  return nullptr;
}

void Coordinator::Tick() {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  const absl::Time now = clock_.Now();
  CheckLeases(now);
  CheckParticipants();
  for (auto& [ordinal, job] : active_) {
    if (!job.record.has_phase_deadline() || now < FromTimestamp(job.record.phase_deadline())) continue;
    Transition(job, [](JobMachine& machine) { machine.OnTick(); }).IgnoreError();  // The next tick tries again.
  }
  for (auto& [ordinal, job] : active_) {
    if (job.record.job().state() != v1::JOB_STATE_RUNNING || !JobMachine::CheckpointDue(job.record, now)) continue;
    Transition(job, [](JobMachine& machine) { machine.OnCheckpointTick(); }).IgnoreError();  // As above.
  }
  CheckMembership(now);
  if (schedule_wanted_) SchedulePending();
  OfferWorkers(now);
  CloseSilentSessions(now);
  CheckTraces(now);
  PublishProgress(now);
  ForgetEnded(now);
}

void Coordinator::CheckLeases(absl::Time now) {
  const absl::Duration gap = now - last_tick_;
  last_tick_ = now;
  // Standing still for long, or a clock that jumped, is the coordinator's fault and not the daemons'.
  if (gap > std::max(options_.membership.lease / 2, kLongGap) || gap < absl::ZeroDuration()) {
    spdlog::warn("no tick for {}: leases are extended by as much", absl::FormatDuration(gap));
    membership_.ShiftLeases(gap);
  }
  const Membership::Expired expired = membership_.Expire();
  for (const std::string& node_id : expired.lost) {
    spdlog::warn("node {} lost: no heartbeat for {}", node_id, absl::FormatDuration(options_.membership.lease));
    PassFailpoint(Failpoint::kCoordinatorLeaseExpired);
    metrics_.RemoveNode(node_id);
    const auto link = links_.find(node_id);
    if (link != links_.end()) {
      EndSession(link->second, MakeError(absl::StatusCode::kUnavailable, "LEASE_LOST",
                                         absl::StrCat("the lease of ", node_id, " ended")));
    }
  }
  for (const std::string& node_id : expired.forgotten) metrics_.RemoveNode(node_id);
  schedule_wanted_ |= !expired.lost.empty() || (grace_until_ != absl::InfinitePast() && now >= grace_until_);
  if (now >= grace_until_) grace_until_ = absl::InfinitePast();
}

void Coordinator::CheckParticipants() {
  for (auto& [ordinal, job] : active_) {
    if (job.record.job().state() != v1::JOB_STATE_RUNNING) continue;
    std::vector<NodeRef> nodes;  // A copy: the record changes underneath.
    for (const v1::ServerPlacement& server : job.record.job().placement().servers()) {
      nodes.push_back({v1::NODE_ROLE_SERVER, server.node_id(), server.incarnation()});
    }
    for (const v1::WorkerPlacement& worker : job.record.job().placement().workers()) {
      nodes.push_back({v1::NODE_ROLE_WORKER, worker.node_id(), worker.incarnation()});
    }
    for (const coordinator::Joiner& joiner : job.record.joiners()) {
      nodes.push_back({v1::NODE_ROLE_WORKER, joiner.node_id(), joiner.incarnation()});
    }
    for (const NodeRef& node : nodes) CheckParticipant(job, node);
  }
}

void Coordinator::CheckParticipant(ActiveJob& job, const NodeRef& node) {
  const NodeLiveness liveness = membership_.Liveness(node.node_id, node.incarnation);
  if (liveness == NodeLiveness::kAlive) return;
  std::string what;
  if (liveness == NodeLiveness::kUnknown) {
    if (clock_.Now() < grace_until_) return;
    what = "it did not come back after the coordinator's restart";
  } else {
    const NodeRecord& known = *membership_.Find(node.node_id);
    if (known.registration.incarnation() != node.incarnation) {
      what = "the daemon was restarted";
    } else if (known.state == v1::NODE_STATE_LEFT) {
      what = "the daemon was stopped";
    } else {
      what = absl::StrCat("no heartbeat for ", absl::FormatDuration(options_.membership.lease));
    }
  }
  Transition(job, [&](JobMachine& machine) { machine.OnNodeLost(node, what); }).IgnoreError();  // As in Tick.
}

ClusterCapacity Coordinator::Capacity() {
  ClusterCapacity cluster;
  absl::flat_hash_map<std::string, uint64_t> memory;
  absl::flat_hash_map<std::string, uint32_t> places;
  for (const auto& [ordinal, job] : active_) {
    if (job.record.job().state() != v1::JOB_STATE_RUNNING) continue;
    for (const v1::ServerPlacement& s : job.record.job().placement().servers()) memory[s.node_id()] += s.memory_bytes();
    for (int i = 0; i < job.record.workers_size(); ++i) {
      // A job that has lost all its workers still names them.
      if (!job.record.workers(i).lost()) ++places[job.record.job().placement().workers(i).node_id()];
    }
    for (const coordinator::Joiner& joiner : job.record.joiners()) ++places[joiner.node_id()];
  }
  for (const auto& [node_id, node] : membership_.nodes()) {
    if (node.state != v1::NODE_STATE_READY) continue;
    const v1::Register& r = node.registration;
    if (r.role() == v1::NODE_ROLE_SERVER) {
      const int64_t limit = static_cast<int64_t>(std::min<uint64_t>(r.memory_limit_bytes(), INT64_MAX / 2));
      const int64_t used = static_cast<int64_t>(memory[node_id]);
      cluster.servers.push_back({node_id, r.incarnation(), r.address(), limit, std::max<int64_t>(0, limit - used),
                                 r.host_id(), r.local_address()});
    } else {
      const uint32_t used = std::min(places[node_id], r.job_capacity());
      cluster.workers.push_back({node_id, r.incarnation(), r.job_capacity(), r.job_capacity() - used});
    }
  }
  return cluster;
}

void Coordinator::SchedulePending() {
  schedule_wanted_ = false;
  const ClusterCapacity capacity = Capacity();
  uint32_t free_workers = 0;
  for (const WorkerCapacity& worker : capacity.workers) free_workers += worker.free;
  std::vector<ActiveJob*> jobs;
  std::vector<PendingJob> pending;
  for (auto& [ordinal, job] : active_) {
    if (job.record.job().state() != v1::JOB_STATE_PENDING) continue;
    jobs.push_back(&job);
    pending.push_back(
        {job.record.job().job_id(), &job.record.job().spec(), JobMachine::WorkersToBegin(job.record, free_workers)});
  }
  if (pending.empty()) return;
  const ScheduleOptions options{.fail_too_large = clock_.Now() >= grace_until_};
  const std::vector<Decision> decisions = ScheduleJobs(pending, capacity, options);
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Decision& decision = decisions[i];
    if (decision.kind == Decision::Kind::kPlace) PassFailpoint(Failpoint::kCoordinatorPlace);
    const absl::Status status = Transition(*jobs[i], [&](JobMachine& machine) {
      if (decision.kind == Decision::Kind::kPlace) machine.OnPlaced(decision.placement);
      if (decision.kind == Decision::Kind::kWait) machine.OnWaiting(decision.reason, decision.message);
      if (decision.kind == Decision::Kind::kFail) machine.OnUnschedulable(decision.error);
    });
    if (!status.ok()) schedule_wanted_ = true;
  }
}

void Coordinator::PublishProgress(absl::Time now) {
  const bool flush = now - last_flush_ >= kFlushInterval;
  if (flush) last_flush_ = now;
  for (auto& [ordinal, job] : active_) {
    if (!job.progress_news) continue;
    job.progress_news = false;
    ++job.snapshot_version;
    metrics_.SetProgress(job.record.job().job_id(), job.record.job().progress());
    NotifyWatchers(job.record.job().job_id());
  }
  if (!flush) return;
  DealBySpeed();
  StoreProgress();
  UpdateMetrics(now);
}

void Coordinator::StoreProgress() {
  auto next = active_.begin();
  while (true) {
    StoreBatch batch;
    std::vector<ActiveJob*> stored;
    for (; next != active_.end() && batch.put_jobs.size() < kMaxBatchItems; ++next) {
      if (!next->second.progress_dirty) continue;
      batch.put_jobs.push_back(next->second.record);
      stored.push_back(&next->second);
    }
    if (stored.empty() || !ApplyToStore(batch).ok()) return;  // Logged; the next time tries again.
    for (ActiveJob* job : stored) job->progress_dirty = false;
  }
}

void Coordinator::UpdateMetrics(absl::Time now) {
  std::map<std::pair<v1::NodeRole, v1::NodeState>, int64_t> counts;
  for (const auto& [node_id, node] : membership_.nodes()) {
    ++counts[{node.registration.role(), node.state}];
    if (node.state == v1::NODE_STATE_READY) metrics_.SetHeartbeatAge(node_id, now - node.last_heartbeat);
  }
  metrics_.SetNodes(counts);
}

void Coordinator::ForgetEnded(absl::Time now) {
  for (auto it = active_.begin(); it != active_.end();) {
    const bool over = IsTerminal(it->second.record.job().state());
    it = over && !JobMachine::CheckpointBusy(it->second.record) ? active_.erase(it) : std::next(it);
  }
  for (auto it = ended_series_.begin(); it != ended_series_.end();) {
    if (now < it->second) {
      ++it;
      continue;
    }
    metrics_.RemoveJob(it->first);
    it = ended_series_.erase(it);
  }
}

absl::Status Coordinator::Ready() {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(store_status_);
  if (stopping_) return absl::UnavailableError("the coordinator is stopping");
  const absl::Duration since = clock_.Now() - last_tick_;
  if (since > kTickStalled) return absl::UnavailableError(absl::StrCat("no tick for ", absl::FormatDuration(since)));
  return absl::OkStatus();
}

void Coordinator::Shutdown(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  std::vector<SessionLink*> links;
  for (const auto& [link, session] : sessions_) links.push_back(link);
  for (SessionLink* link : links) EndSession(link, status);
  std::vector<WatchSink*> idle;
  for (auto& [sink, watch] : watches_) {
    if (!watch.writing) idle.push_back(sink);  // The others end when their write does.
  }
  for (WatchSink* sink : idle) FinishWatch(sink, status);
  FinishAllTraces(status);
  StoreProgress();  // Only the newest numbers are lost when it fails.
}

}  // namespace paramd
