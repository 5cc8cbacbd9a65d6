#include "server/coordinator/coordinator_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
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
  engine.machine.workers_timeout = options_.workers_timeout;
  engine.machine.max_recoveries = static_cast<uint32_t>(options_.max_recoveries);
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
  ASSIGN_OR_RETURN(const StoreLocation location, options_.ParseStore());
  const bool standalone = !location.sqlite_path.empty();
  metrics_ = std::make_unique<CoordinatorMetrics>(registry_, standalone ? "sqlite" : "etcd");
  const std::string id =
      options_.node_id.empty() ? absl::StrCat(HostName(), "-coordinator-", RandomSuffix(6)) : options_.node_id;
  if (standalone) RETURN_IF_ERROR(LoadFromSqlite(location.sqlite_path, id));
  const absl::Status started = StartServers();
  if (!started.ok()) {
    Stop();
    return started;
  }
  if (!standalone) StandForElection(location.etcd_endpoints, id);
  spdlog::info("coordinator {} {} serves at {}, metrics at port {}, store {}", id, kVersion,
               AdvertisedAddress(options_.advertise, options_.listen, port()), metrics_port(),
               standalone ? location.sqlite_path : absl::StrCat(options_.etcd_prefix, " in ", etcd_->description()));
  return absl::OkStatus();
}

absl::Status CoordinatorServer::LoadFromSqlite(const std::string& path, const std::string& id) {
  ASSIGN_OR_RETURN(store_, OpenSqliteStore(path));
  coordinator_ = std::make_shared<Coordinator>(EngineOptions(id), *store_, clock_, *metrics_);
  RETURN_IF_ERROR(coordinator_->Load());
  gate_.Open(coordinator_, [] { return absl::OkStatus(); });
  metrics_->SetLeader(true);
  return absl::OkStatus();
}

void CoordinatorServer::StandForElection(const std::vector<std::string>& endpoints, const std::string& id) {
  etcd_ = std::make_unique<EtcdClient>(EtcdOptions{.endpoints = endpoints, .timeout = options_.leader_lease / 3});
  ElectedEngineOptions options;
  options.engine = EngineOptions(id);
  options.tick = kTickInterval;
  options.leadership.prefix = options_.etcd_prefix;
  options.leadership.lease = options_.leader_lease;
  options.leadership.self = {AdvertisedAddress(options_.advertise, options_.listen, port()), id};
  elected_ = std::make_unique<ElectedEngine>(std::move(options), *etcd_, clock_, *metrics_, gate_,
                                             [this](bool leads) { runner_->SetServing(leads); });
  elected_->Start();
}

absl::Status CoordinatorServer::StartServers() {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Credentials> credentials, Credentials::LoadForServer(options_.tls));
  job_service_ = std::make_unique<JobService>(gate_);
  cluster_service_ = std::make_unique<ClusterService>(gate_);
  runner_ = std::make_unique<ServerRunner>(ServerRunnerOptions{.listen_address = options_.listen,
                                                               .credentials = credentials,
                                                               .max_message_bytes = kMaxMessageBytes,
                                                               .registry = registry_});
  runner_->AddService(job_service_.get(), v1::JobService::service_full_name());
  runner_->AddService(cluster_service_.get(), v1::ClusterService::service_full_name());
  ASSIGN_OR_RETURN(metrics_server_, MetricsServer::Start({.listen_address = options_.metrics_listen}, registry_));
  metrics_server_->AddReadinessCheck("coordinator", [this]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::shared_ptr<Coordinator> coordinator, gate_.Get());
    return coordinator->Ready();
  });
  RETURN_IF_ERROR(runner_->Start());
  if (coordinator_ != nullptr) {
    ticker_ = std::thread([this] { TickUntilStopped(); });
    runner_->SetServing(true);
  }
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
  if (elected_ != nullptr) elected_->Stop();
  if (coordinator_ != nullptr) {
    coordinator_->Shutdown(
        MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "the coordinator is stopping"));
  }
  if (runner_ != nullptr) runner_->Drain(kDrainGrace);
  stop_ticking_.Notify();
  if (ticker_.joinable()) ticker_.join();
  metrics_server_.reset();
  store_.reset();
}

}  // namespace paramd
