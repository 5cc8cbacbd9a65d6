// The worker daemon as an object, so that tests run it in their own process.
//
//   ASSIGN_OR_RETURN(auto worker, Worker::Start({.listen = "127.0.0.1:0", .metrics_listen = "127.0.0.1:0",
//                                                .coordinator = address}));
//   ...
//   worker->Stop("SIGTERM");
//
// Start order: metrics port, gRPC server, session with the coordinator. Stop order: jobs are reported failed and
// joined, Goodbye, inference calls end, the gRPC server drains, the metrics port closes. /readyz and health are
// positive while the coordinator's lease is held. Threading: Start and Stop from one thread; the other methods from
// any.
#ifndef PARAMD_WORKER_WORKER_H_
#define PARAMD_WORKER_WORKER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/metrics/metrics_server.h"
#include "common/rpc/coordinator_session.h"
#include "common/rpc/credentials.h"
#include "common/rpc/server_runner.h"
#include "prometheus/registry.h"
#include "worker/infer/inference_service.h"
#include "worker/model_compiler.h"
#include "worker/options.h"
#include "worker/worker_jobs.h"

namespace paramd {

class Worker final : private CoordinatorSessionHandler {
 public:
  // `on_fatal` is called from another thread when the worker cannot go on (the coordinator refuses it); it must not
  // block and should bring about Stop. kUnavailable when it cannot listen, kInvalidArgument for options.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(WorkerOptions options, std::function<void()> on_fatal = {});
  ~Worker() override;

  // Idempotent.
  void Stop(const std::string& reason);

  int port() const { return runner_->port(); }
  int metrics_port() const { return metrics_port_; }
  const std::string& node_id() const { return node_id_; }
  // Whether the coordinator's lease is held.
  bool welcomed() const { return session_->welcomed(); }
  // Why on_fatal was called; OK before.
  absl::Status fatal() const;

 private:
  Worker(WorkerOptions options, std::shared_ptr<const Credentials> credentials, std::function<void()> on_fatal);
  absl::Status Listen();
  absl::Status Register();

  void OnCommand(const v1::CoordinatorMessage& command) override;
  void OnLeaseLost() override;
  void OnOrphaned() override;
  void OnWelcome() override;
  void OnRefused(const absl::Status& status) override;
  std::vector<v1::HeldJob> HeldJobs() override;

  // Constant after Start.
  const WorkerOptions options_;
  const std::shared_ptr<const Credentials> credentials_;
  const std::function<void()> on_fatal_;
  const uint64_t incarnation_;
  const ModelCompiler compile_;
  std::string node_id_;
  int metrics_port_ = 0;

  // Own synchronisation. In the order of their making.
  const std::shared_ptr<prometheus::Registry> registry_;
  WorkerMetrics metrics_;
  std::unique_ptr<MetricsServer> metrics_server_;
  InferenceService inference_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<WorkerJobs> jobs_;
  std::unique_ptr<CoordinatorSession> session_;
  bool stopped_ = false;  // Of the thread that starts and stops.

  mutable absl::Mutex mutex_;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_WORKER_WORKER_H_
