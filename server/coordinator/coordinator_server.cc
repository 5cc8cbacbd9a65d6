#include "server/coordinator/coordinator_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/ids.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/config/version.h"
#include "common/rpc/address.h"
#include "server/coordinator/store/sqlite_store.h"

namespace paramd {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
constexpr absl::Duration kDrainGrace = absl::Seconds(5);
// Room for the traces of a job's nodes in one response (trace_collector.h); clients take as much.
constexpr int64_t kMaxMessageBytes = int64_t{16} << 20;

}  // namespace

CoordinatorServer::CoordinatorServer(CoordinatorServerOptions options)
    : options_(std::move(options)), registry_(std::make_shared<prometheus::Registry>()) {}

CoordinatorServer::~CoordinatorServer() { Stop(); }

CoordinatorOptions CoordinatorServer::EngineOptions(const std::string& id) const {
  CoordinatorOptions engine;
  engine.membership.lease = options_.lease;
  engine.machine.preparing_timeout = options_.preparing_timeout;
  engine.machine.stopping_timeout = options_.stopping_timeout;
  engine.machine.saving_timeout = options_.saving_timeout;
  engine.machine.releasing_timeout = options_.releasing_timeout;
  engine.heartbeat = options_.EffectiveHeartbeat();
  engine.restart_grace = options_.restart_grace;
  engine.coordinator_id = id;
  return engine;
}

absl::Status CoordinatorServer::Start() {
  RETURN_IF_ERROR(options_.Validate());
  ASSIGN_OR_RETURN(store_, OpenSqliteStore(absl::StrCat(options_.data_dir, "/paramd.db")));
  metrics_ = std::make_unique<CoordinatorMetrics>(registry_);
  const std::string id =
      options_.node_id.empty() ? absl::StrCat(HostName(), "-coordinator-", RandomSuffix(6)) : options_.node_id;
  coordinator_ = std::make_unique<Coordinator>(EngineOptions(id), *store_, clock_, *metrics_);
  RETURN_IF_ERROR(coordinator_->Load());
  const absl::Status started = StartServers();
  if (!started.ok()) {
    Stop();
    return started;
  }
  spdlog::info("coordinator {} {} serves at {}, metrics at port {}, store {}/paramd.db", id, kVersion,
               AdvertisedAddress(options_.advertise, options_.listen, port()), metrics_port(), options_.data_dir);
  return absl::OkStatus();
}

absl::Status CoordinatorServer::StartServers() {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Credentials> credentials, Credentials::LoadForServer(options_.tls));
  job_service_ = std::make_unique<JobService>(*coordinator_);
  cluster_service_ = std::make_unique<ClusterService>(*coordinator_);
  runner_ = std::make_unique<ServerRunner>(ServerRunnerOptions{.listen_address = options_.listen,
                                                               .credentials = credentials,
                                                               .max_message_bytes = kMaxMessageBytes,
                                                               .registry = registry_});
  runner_->AddService(job_service_.get(), v1::JobService::service_full_name());
  runner_->AddService(cluster_service_.get(), v1::ClusterService::service_full_name());
  ASSIGN_OR_RETURN(metrics_server_, MetricsServer::Start({.listen_address = options_.metrics_listen}, registry_));
  metrics_server_->AddReadinessCheck("coordinator", [this] { return coordinator_->Ready(); });
  RETURN_IF_ERROR(runner_->Start());
  ticker_ = std::thread([this] { TickUntilStopped(); });
  runner_->SetServing(true);
  return options_.port_file.empty()
             ? absl::OkStatus()
             : AtomicWriteFile(options_.port_file,
                               absl::StrCat("{\"port\":", port(), ",\"metrics_port\":", metrics_port(), "}\n"));
}

void CoordinatorServer::TickUntilStopped() {
  while (!stop_ticking_.WaitForNotificationWithTimeout(kTickInterval)) coordinator_->Tick();
}

void CoordinatorServer::Stop() {
  if (stopped_) return;
  stopped_ = true;
  if (runner_ != nullptr) runner_->SetServing(false);
  if (coordinator_ != nullptr) coordinator_->Shutdown();
  if (runner_ != nullptr) runner_->Drain(kDrainGrace);
  stop_ticking_.Notify();
  if (ticker_.joinable()) ticker_.join();
  metrics_server_.reset();
  store_.reset();
}

}  // namespace paramd
