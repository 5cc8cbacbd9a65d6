// The whole coordinator as one object: store, engine, services, metrics port. What main runs, and what tests start in
// process.
//
//   CoordinatorServer server({.listen = "127.0.0.1:0", .metrics_listen = "127.0.0.1:0", .data_dir = directory});
//   RETURN_IF_ERROR(server.Start());        // server.port()
//   server.Stop();
//
// Owns one thread, which calls Coordinator::Tick every 100 ms. Start and Stop belong to one thread; Stop is idempotent
// and its order is: health to NOT_SERVING, sessions and watches end, gRPC drains, ticker joins, metrics port, store.
#ifndef PARAMD_SERVER_COORDINATOR_COORDINATOR_SERVER_H_
#define PARAMD_SERVER_COORDINATOR_COORDINATOR_SERVER_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "common/base/clock.h"
#include "common/metrics/metrics_server.h"
#include "common/rpc/server_runner.h"
#include "prometheus/registry.h"
#include "server/coordinator/cluster_service.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/coordinator_metrics.h"
#include "server/coordinator/job_service.h"
#include "server/coordinator/options.h"
#include "server/coordinator/store/store.h"

namespace paramd {

class CoordinatorServer {
 public:
  explicit CoordinatorServer(CoordinatorServerOptions options);
  ~CoordinatorServer();  // Stops.

  // kInvalidArgument: options. Else the store's errors, or kUnavailable when a port cannot be had. Once.
  absl::Status Start();
  void Stop();

  int port() const { return runner_ != nullptr ? runner_->port() : 0; }
  int metrics_port() const { return metrics_server_ != nullptr ? metrics_server_->port() : 0; }
  Coordinator& coordinator() { return *coordinator_; }  // After Start.

 private:
  CoordinatorOptions EngineOptions(const std::string& id) const;
  absl::Status StartServers();
  void TickUntilStopped();

  const CoordinatorServerOptions options_;
  RealClock clock_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<CoordinatorMetrics> metrics_;
  std::unique_ptr<Coordinator> coordinator_;
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
