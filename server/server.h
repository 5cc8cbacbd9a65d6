// The parameter server daemon as an object, so that tests run it in their own process.
//
//   ASSIGN_OR_RETURN(auto server, ParameterServer::Start({.listen = "127.0.0.1:0", .metrics_listen = "127.0.0.1:0",
//                                                         .coordinator = address, .output_dir = directory}));
//   ...
//   server->Stop("SIGTERM");
//
// Start order: metrics port, owner threads, gRPC server, session with the coordinator. Stop order: Goodbye, a save
// under way ends (given up, unless the weights are being put in place), jobs are released, the gRPC server drains,
// owner threads join, the metrics port closes. /readyz and health are positive while the coordinator's lease is held.
// Threading: Start and Stop from one thread; the other methods from any.
#ifndef PARAMD_SERVER_SERVER_H_
#define PARAMD_SERVER_SERVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/metrics/metrics_server.h"
#include "common/rpc/channel_cache.h"
#include "common/rpc/coordinator_session.h"
#include "common/rpc/credentials.h"
#include "common/rpc/server_runner.h"
#include "prometheus/registry.h"
#include "server/background_thread.h"
#include "server/options.h"
#include "server/server_checkpoints.h"
#include "server/service/jobs.h"
#include "server/service/lease.h"
#include "server/service/owner_threads.h"
#include "server/service/parameter_service.h"
#include "server/service/server_metrics.h"

namespace paramd {

class ParameterServer final : private CoordinatorSessionHandler {
 public:
  // `on_fatal` is called from another thread when the server cannot go on (the coordinator refuses it); it must not
  // block and should bring about Stop. kUnavailable when it cannot listen, kInvalidArgument for options.
  static absl::StatusOr<std::unique_ptr<ParameterServer>> Start(ServerOptions options,
                                                                std::function<void()> on_fatal = {});
  ~ParameterServer() override;

  // Idempotent.
  void Stop(const std::string& reason);

  int port() const { return runner_->port(); }
  int metrics_port() const { return metrics_server_->port(); }
  const std::string& node_id() const { return node_id_; }
  uint64_t incarnation() const { return incarnation_; }
  // Whether the coordinator's lease is held.
  bool welcomed() const { return session_->welcomed(); }
  // Why on_fatal was called; OK before.
  absl::Status fatal() const;
  // The jobs held, for tests that play the coordinator.
  Jobs& jobs() { return *jobs_; }

 private:
  struct Saved {
    uint64_t life = 0;  // The generation in which the job was given to this server.
    v1::WeightsSaved weights;
  };

  ParameterServer(ServerOptions options, std::shared_ptr<const Credentials> credentials,
                  std::function<void()> on_fatal);
  ServerJobEnvironment JobEnvironment();
  absl::Status Listen();
  void Register();
  Lease CurrentLease() const;
  // The ticker of the owner threads.
  absl::Time Tick(int thread, absl::Time now);

  void OnCommand(const v1::CoordinatorMessage& command) override;
  void OnLeaseLost() override;
  void OnOrphaned() override;
  void OnWelcome() override;
  void OnRefused(const absl::Status& status) override;
  std::vector<v1::HeldJob> HeldJobs() override;

  void Prepare(const v1::PrepareServer& command);
  void ChangeGeneration(const v1::ChangeGeneration& command);
  void Save(const v1::SaveWeights& command);
  // What was saved before when this life of the job has been.
  absl::StatusOr<v1::WeightsSaved> SaveOnce(const std::string& job_id, uint64_t generation);
  void Release(const v1::ReleaseJob& command);
  void CollectTrace(const v1::CollectTrace& command);
  void ReportFailed(const std::string& job_id, uint64_t generation, const absl::Status& status);
  void Report(const std::string& job_id, uint64_t generation, v1::JobReport report);

  // Constant after Start.
  const ServerOptions options_;
  const std::shared_ptr<const Credentials> credentials_;
  const std::function<void()> on_fatal_;
  const RealClock clock_;
  const uint64_t incarnation_;
  const int thread_count_;
  std::string node_id_;

  // Own synchronisation. In the order of their making.
  const std::shared_ptr<prometheus::Registry> registry_;
  ServerMetrics metrics_;
  std::unique_ptr<MetricsServer> metrics_server_;
  ChannelCache channels_{{.kind = ChannelKind::kControl, .credentials = credentials_}};  // Outlives the jobs' calls.
  std::unique_ptr<OwnerThreads> threads_;
  std::unique_ptr<Jobs> jobs_;
  std::unique_ptr<ServerCheckpoints> checkpoints_;
  std::unique_ptr<ParameterService> service_;
  std::unique_ptr<ServerRunner> runner_;
  BackgroundThread background_;  // Saves weights.
  std::unique_ptr<CoordinatorSession> session_;
  std::atomic<const CoordinatorSession*> registered_session_ = nullptr;  // session_, for threads that are there first.
  bool stopped_ = false;                                                 // Of the thread that starts and stops.

  mutable absl::Mutex mutex_;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Saved> saved_ ABSL_GUARDED_BY(mutex_);  // Of the jobs held.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVER_H_
