#include "server/coordinator/coordinator_metrics.h"

#include <utility>

#include "absl/strings/ascii.h"

namespace paramd {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

prometheus::Histogram::BucketBoundaries StoreBuckets() {
  return {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10};
}

constexpr v1::JobState kJobStates[] = {v1::JOB_STATE_PENDING,   v1::JOB_STATE_RUNNING, v1::JOB_STATE_PAUSED,
                                       v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED,  v1::JOB_STATE_CANCELLED};
constexpr v1::NodeState kNodeStates[] = {v1::NODE_STATE_READY, v1::NODE_STATE_DRAINING, v1::NODE_STATE_LOST,
                                         v1::NODE_STATE_LEFT};

std::string Label(v1::JobState state) {
  return absl::AsciiStrToLower(v1::JobState_Name(state).substr(sizeof("JOB_STATE_") - 1));
}
std::string Label(v1::NodeState state) {
  return absl::AsciiStrToLower(v1::NodeState_Name(state).substr(sizeof("NODE_STATE_") - 1));
}

// What became of a checkpoint, by the reason of the event that says so.
constexpr std::pair<const char*, const char*> kCheckpointResults[] = {{"CHECKPOINTED", "committed"},
                                                                      {"CHECKPOINT_FAILED", "failed"},
                                                                      {"CHECKPOINT_ABANDONED", "abandoned"},
                                                                      {"CHECKPOINT_SKIPPED", "skipped"},
                                                                      {"CHECKPOINT_CORRUPT", "corrupt"}};

prometheus::Family<prometheus::Gauge>& Gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return BuildGauge().Name(name).Help(help).Register(registry);
}

}  // namespace

CoordinatorMetrics::CoordinatorMetrics(std::shared_ptr<prometheus::Registry> registry, std::string backend)
    : registry_(std::move(registry)),
      backend_(std::move(backend)),
      leader_(Gauges(*registry_, "paramd_coordinator_leader", "1 on the coordinator that leads, 0 on its standbys.")
                  .Add({})),
      jobs_(Gauges(*registry_, "paramd_jobs", "Jobs known to the coordinator, by state.")),
      nodes_(Gauges(*registry_, "paramd_nodes", "Daemons known to the coordinator, by state.")),
      workers_(Gauges(*registry_, "paramd_workers", "Workers known to the coordinator, by state.")),
      servers_(Gauges(*registry_, "paramd_servers", "Parameter servers known to the coordinator, by state.")),
      completed_(BuildCounter()
                     .Name("paramd_jobs_completed_total")
                     .Help("Jobs that ended since the coordinator started, by result.")
                     .Register(*registry_)),
      checkpoints_(BuildCounter()
                       .Name("paramd_checkpoints_total")
                       .Help("Checkpoints by what became of them")
                       .Register(*registry_)),
      recoveries_(BuildCounter()
                      .Name("paramd_job_recoveries_total")
                      .Help("Jobs that went back for what they had lost with a server.")
                      .Register(*registry_)
                      .Add({})),
      queue_wait_(
          BuildHistogram()
              .Name("paramd_job_queue_wait_seconds")
              .Help("Time between a job's submission and its placement.")
              .Register(*registry_)
              .Add({}, prometheus::Histogram::BucketBoundaries{0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 14400})),
      heartbeat_age_(
          Gauges(*registry_, "paramd_heartbeat_age_seconds", "Time since the last heartbeat of a node that is ready.")),
      store_duration_(BuildHistogram()
                          .Name("paramd_coordinator_store_duration_seconds")
                          .Help("Duration of operations on the job store.")
                          .Register(*registry_)),
      global_step_(Gauges(*registry_, "paramd_global_step", "Steps done by the slowest worker of a job.")),
      train_loss_(Gauges(*registry_, "paramd_train_loss", "Training loss of a job's newest fully reported step.")),
      validation_loss_(Gauges(*registry_, "paramd_validation_loss", "Loss of a job's newest evaluation.")),
      generation_(Gauges(*registry_, "paramd_job_generation", "How often a job's workers have changed, and 1.")),
      job_workers_(Gauges(*registry_, "paramd_job_workers", "Workers that a job has now.")) {
  for (v1::JobState state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}) {
    completed_.Add({{"result", Label(state)}});
  }
  for (const auto& [event, result] : kCheckpointResults) checkpoints_.Add({{"result", result}});
  StoreDuration("apply", absl::InfiniteDuration());
  StoreDuration("read", absl::InfiniteDuration());
  SetJobs({});
  SetNodes({});
}

void CoordinatorMetrics::SetLeader(bool leads) { leader_.Set(leads ? 1 : 0); }

void CoordinatorMetrics::Clear() {
  SetJobs({});
  SetNodes({});
  while (!job_series_.empty()) RemoveJob(job_series_.begin()->first);
  while (!node_series_.empty()) RemoveNode(node_series_.begin()->first);
}

void CoordinatorMetrics::SetJobs(const std::map<v1::JobState, int64_t>& counts) {
  for (v1::JobState state : kJobStates) {
    const auto found = counts.find(state);
    jobs_.Add({{"state", Label(state)}}).Set(found == counts.end() ? 0 : static_cast<double>(found->second));
  }
}

void CoordinatorMetrics::CountEvent(const std::string& reason) {
  if (reason == "RECOVERING") recoveries_.Increment();
  for (const auto& [event, result] : kCheckpointResults) {
    if (reason == event) checkpoints_.Add({{"result", result}}).Increment();
  }
}

void CoordinatorMetrics::JobCompleted(v1::JobState state) { completed_.Add({{"result", Label(state)}}).Increment(); }

void CoordinatorMetrics::QueueWait(absl::Duration wait) { queue_wait_.Observe(absl::ToDoubleSeconds(wait)); }

void CoordinatorMetrics::SetNodes(const std::map<std::pair<v1::NodeRole, v1::NodeState>, int64_t>& counts) {
  const auto count = [&](v1::NodeRole role, v1::NodeState state) {
    const auto found = counts.find({role, state});
    return found == counts.end() ? 0.0 : static_cast<double>(found->second);
  };
  for (v1::NodeState state : kNodeStates) {
    const double workers = count(v1::NODE_ROLE_WORKER, state);
    const double servers = count(v1::NODE_ROLE_SERVER, state);
    workers_.Add({{"state", Label(state)}}).Set(workers);
    servers_.Add({{"state", Label(state)}}).Set(servers);
    nodes_.Add({{"state", Label(state)}}).Set(workers + servers);
  }
}

void CoordinatorMetrics::SetHeartbeatAge(const std::string& node_id, absl::Duration age) {
  prometheus::Gauge*& gauge = node_series_[node_id];
  if (gauge == nullptr) gauge = &heartbeat_age_.Add({{"node", node_id}});
  gauge->Set(absl::ToDoubleSeconds(age));
}

void CoordinatorMetrics::RemoveNode(const std::string& node_id) {
  const auto found = node_series_.find(node_id);
  if (found == node_series_.end()) return;
  heartbeat_age_.Remove(found->second);
  node_series_.erase(found);
}

void CoordinatorMetrics::SetMembers(const std::string& job_id, uint64_t generation, int workers) {
  JobSeries& series = job_series_[job_id];
  const prometheus::Labels labels = {{"train_job", job_id}};
  if (series.generation == nullptr) series.generation = &generation_.Add(labels);
  if (series.workers == nullptr) series.workers = &job_workers_.Add(labels);
  series.generation->Set(static_cast<double>(generation));
  series.workers->Set(workers);
}

void CoordinatorMetrics::SetProgress(const std::string& job_id, const v1::JobProgress& progress) {
  JobSeries& series = job_series_[job_id];
  const prometheus::Labels labels = {{"train_job", job_id}};
  if (series.step == nullptr) series.step = &global_step_.Add(labels);
  series.step->Set(static_cast<double>(progress.step()));
  if (progress.has_update_time()) {
    if (series.train_loss == nullptr) series.train_loss = &train_loss_.Add(labels);
    series.train_loss->Set(progress.loss());
  }
  if (progress.has_validation_loss()) {
    if (series.validation_loss == nullptr) series.validation_loss = &validation_loss_.Add(labels);
    series.validation_loss->Set(progress.validation_loss());
  }
}

void CoordinatorMetrics::RemoveJob(const std::string& job_id) {
  const auto found = job_series_.find(job_id);
  if (found == job_series_.end()) return;
  if (found->second.step != nullptr) global_step_.Remove(found->second.step);
  if (found->second.generation != nullptr) generation_.Remove(found->second.generation);
  if (found->second.workers != nullptr) job_workers_.Remove(found->second.workers);
  if (found->second.train_loss != nullptr) train_loss_.Remove(found->second.train_loss);
  if (found->second.validation_loss != nullptr) validation_loss_.Remove(found->second.validation_loss);
  job_series_.erase(found);
}

void CoordinatorMetrics::StoreDuration(const std::string& op, absl::Duration duration) {
  prometheus::Histogram& histogram = store_duration_.Add({{"op", op}, {"backend", backend_}}, StoreBuckets());
  if (duration != absl::InfiniteDuration()) histogram.Observe(absl::ToDoubleSeconds(duration));
}

}  // namespace paramd
