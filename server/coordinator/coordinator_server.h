// The whole coordinator as one object: store, engine, services, metrics port. What main runs, and what tests start in
// process. With a store in etcd it is one of several: it serves from the start, answers NOT_LEADER and is not ready
// until it leads (elected_engine.h).
//
//   CoordinatorServer server({.listen = "127.0.0.1:0", .metrics_listen = "127.0.0.1:0", .data_dir = directory});
//   RETURN_IF_ERROR(server.Start());        // server.port()
//   server.Stop();
//
// Owns one thread, which calls Coordinator::Tick every 100 ms. Start and Stop belong to one thread; Stop is idempotent
// and its order is: health to NOT_SERVING, sessions and watches end, resignation, gRPC drains, ticker joins, metrics
// port, store.
#ifndef PARAMD_SERVER_COORDINATOR_COORDINATOR_SERVER_H_
#define PARAMD_SERVER_COORDINATOR_COORDINATOR_SERVER_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "common/base/clock.h"
#include "common/metrics/metrics_server.h"
#include "common/rpc/server_runner.h"
#include "prometheus/registry.h"
#include "server/coordinator/cluster_service.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/coordinator_gate.h"
#include "server/coordinator/coordinator_metrics.h"
#include "server/coordinator/elected_engine.h"
#include "server/coordinator/etcd/etcd_client.h"
#include "server/coordinator/job_service.h"
#include "server/coordinator/options.h"
#include "server/coordinator/store/store.h"

namespace paramd {

class CoordinatorServer {
 public:
  explicit CoordinatorServer(CoordinatorServerOptions options);
  ~CoordinatorServer();  // Stops.

  // kInvalidArgument: options. Else SQLite's errors (etcd is waited for), or kUnavailable when a port cannot be had.
  // Once.
  absl::Status Start();
  void Stop();

  int port() const { return runner_ != nullptr ? runner_->port() : 0; }
  int metrics_port() const { return metrics_server_ != nullptr ? metrics_server_->port() : 0; }

 private:
  CoordinatorOptions EngineOptions(const std::string& id) const;
  absl::Status LoadFromSqlite(const std::string& path, const std::string& id);
  void StandForElection(const std::vector<std::string>& endpoints, const std::string& id);
  absl::Status StartServers();
  void TickUntilStopped();

  const CoordinatorServerOptions options_;
  RealClock clock_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<CoordinatorMetrics> metrics_;
  CoordinatorGate gate_;
  std::shared_ptr<Coordinator> coordinator_;  // With SQLite.
  std::unique_ptr<EtcdClient> etcd_;          // This and the next: with etcd.
  std::unique_ptr<ElectedEngine> elected_;
  std::unique_ptr<JobService> job_service_;
  std::unique_ptr<ClusterService> cluster_service_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<MetricsServer> metrics_server_;
  absl::Notification stop_ticking_;
  std::thread ticker_;
  bool stopped_ = false;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_COORDINATOR_SERVER_H_
