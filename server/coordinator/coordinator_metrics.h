// The coordinator's Prometheus families (prefix paramd_), with the children it owns.
//
// Thread safety: thread safe where prometheus-cpp is, but RemoveJob/RemoveNode must not race with setters of the same
// job or node: the coordinator calls all of them under its mutex.
#ifndef PARAMD_SERVER_COORDINATOR_COORDINATOR_METRICS_H_
#define PARAMD_SERVER_COORDINATOR_COORDINATOR_METRICS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"

namespace paramd {

class CoordinatorMetrics {
 public:
  // `backend` of the job store: "sqlite" or "etcd".
  CoordinatorMetrics(std::shared_ptr<prometheus::Registry> registry, std::string backend);

  // Whether this process leads; one without standbys always does.
  void SetLeader(bool leads);
  // Nothing is known of jobs and nodes any more: another process leads.
  void Clear();
  void SetJobs(const std::map<v1::JobState, int64_t>& counts);
  void JobCompleted(v1::JobState state);
  void QueueWait(absl::Duration wait);
  // A job's event: counted when it says what became of a checkpoint, or that the job recovers from a loss.
  void CountEvent(const std::string& reason);
  // Nodes by role and state.
  void SetNodes(const std::map<std::pair<v1::NodeRole, v1::NodeState>, int64_t>& counts);
  void SetHeartbeatAge(const std::string& node_id, absl::Duration age);
  void RemoveNode(const std::string& node_id);
  void SetProgress(const std::string& job_id, const v1::JobProgress& progress);
  void SetMembers(const std::string& job_id, uint64_t generation, int workers);
  void RemoveJob(const std::string& job_id);
  // `op` is "apply" or "read".
  void StoreDuration(const std::string& op, absl::Duration duration);

 private:
  struct JobSeries {
    prometheus::Gauge* step = nullptr;
    prometheus::Gauge* train_loss = nullptr;
    prometheus::Gauge* validation_loss = nullptr;
    prometheus::Gauge* generation = nullptr;
    prometheus::Gauge* workers = nullptr;
  };

  const std::shared_ptr<prometheus::Registry> registry_;
  const std::string backend_;
  prometheus::Gauge& leader_;
  prometheus::Family<prometheus::Gauge>& jobs_;
  prometheus::Family<prometheus::Gauge>& nodes_;
  prometheus::Family<prometheus::Gauge>& workers_;
  prometheus::Family<prometheus::Gauge>& servers_;
  prometheus::Family<prometheus::Counter>& completed_;
  prometheus::Family<prometheus::Counter>& checkpoints_;
  prometheus::Counter& recoveries_;
  prometheus::Histogram& queue_wait_;
  prometheus::Family<prometheus::Gauge>& heartbeat_age_;
  prometheus::Family<prometheus::Histogram>& store_duration_;
  prometheus::Family<prometheus::Gauge>& global_step_;
  prometheus::Family<prometheus::Gauge>& train_loss_;
  prometheus::Family<prometheus::Gauge>& validation_loss_;
  prometheus::Family<prometheus::Gauge>& generation_;
  prometheus::Family<prometheus::Gauge>& job_workers_;
  std::map<std::string, JobSeries> job_series_;
  std::map<std::string, prometheus::Gauge*> node_series_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_COORDINATOR_METRICS_H_
