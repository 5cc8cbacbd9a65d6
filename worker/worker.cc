#include "worker/worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/host.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/config/version.h"
#include "spdlog/spdlog.h"
#include "worker/device/cpu/cpu_device.h"
#include "worker/infer/saved_model.h"

namespace paramd {
namespace {

constexpr uint32_t kProtocol = 1;
constexpr absl::Duration kDrain = absl::Seconds(5);

// Compiles for a CPU device of its own with `threads` threads.
ModelCompiler CpuCompiler(int threads) {
  return [threads](const v1::ModelSpec& model, const ArenaPlan& plan,
                   int64_t batch_size) -> absl::StatusOr<CompiledModel> {
    CompiledModel compiled;
    ASSIGN_OR_RETURN(compiled.device, CreateCpuDevice({.threads = threads}));
    ASSIGN_OR_RETURN(compiled.program, CompileModel(*compiled.device, model, plan, {.batch_size = batch_size}));
    return compiled;
  };
}

}  // namespace

Worker::Worker(WorkerOptions options, std::shared_ptr<const Credentials> credentials, std::function<void()> on_fatal)
    : options_(std::move(options)),
      credentials_(std::move(credentials)),
      on_fatal_(std::move(on_fatal)),
      incarnation_(NewIncarnation(RealClock())),
      compile_(CpuCompiler(options_.threads)),
      registry_(std::make_shared<prometheus::Registry>()),
      metrics_(*registry_, "cpu"),
      inference_({.load = [this](const std::string& directory) { return LoadSavedModel(directory, compile_); }}) {}

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(WorkerOptions options, std::function<void()> on_fatal) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(std::shared_ptr<const Credentials> credentials, Credentials::LoadForServer(options.tls));
  std::unique_ptr<Worker> worker(new Worker(std::move(options), std::move(credentials), std::move(on_fatal)));
  RETURN_IF_ERROR(worker->Listen());
  RETURN_IF_ERROR(worker->Register());
  return worker;
}

absl::Status Worker::Listen() {
  ASSIGN_OR_RETURN(metrics_server_, MetricsServer::Start({.listen_address = options_.metrics_listen}, registry_));
  metrics_port_ = metrics_server_->port();
  metrics_server_->BeforeScrape([this] { metrics_.series().Expire(); });
  runner_ = std::make_unique<ServerRunner>(
      ServerRunnerOptions{.listen_address = options_.listen, .credentials = credentials_, .registry = registry_});
  runner_->AddService(&inference_, "paramd.v1.InferenceService");
  RETURN_IF_ERROR(runner_->Start());
  if (options_.port_file.empty()) return absl::OkStatus();
  return AtomicWriteFile(options_.port_file,
                         absl::StrCat("{\"port\":", port(), ",\"metrics_port\":", metrics_port(), "}\n"));
}

absl::Status Worker::Register() {
  ASSIGN_OR_RETURN(const std::unique_ptr<Device> device, CreateCpuDevice({.threads = options_.threads}));
  node_id_ = options_.node_id.empty() ? absl::StrCat(HostName(), "-worker-", port()) : options_.node_id;
  CoordinatorSessionOptions session;
  session.coordinator_address = options_.coordinator;
  session.credentials = credentials_;
  v1::Register& registration = session.registration;
  registration.set_node_id(node_id_);
  registration.set_role(v1::NODE_ROLE_WORKER);
  registration.set_incarnation(incarnation_);
  registration.set_address(AdvertisedAddress(options_.advertise, options_.listen, port()));
  registration.set_metrics_address(AdvertisedAddress("", options_.metrics_listen, metrics_port()));
  registration.set_job_capacity(static_cast<uint32_t>(options_.job_capacity));
  registration.set_version(kVersion);
  registration.set_device(device->description());
  registration.set_protocol(kProtocol);
  registration.set_host_id(HostId());
  session_ = std::make_unique<CoordinatorSession>(std::move(session), static_cast<CoordinatorSessionHandler&>(*this));
  jobs_ = std::make_unique<WorkerJobs>(
      WorkerJobEnvironment{.incarnation = incarnation_,
                           .compile = compile_,
                           .metrics = metrics_,
                           .data_plane = options_.data_plane,
                           .credentials = credentials_,
                           .report = [this](v1::JobReport report) { session_->Report(std::move(report)); }},
      options_.job_capacity);
  metrics_server_->AddReadinessCheck("coordinator", [this] {
    return session_->welcomed() ? absl::OkStatus()
                                : absl::UnavailableError(absl::StrCat("no lease from ", options_.coordinator));
  });
  spdlog::info("worker {} ({}) listens on port {}, metrics on port {}, coordinator {}", node_id_, device->description(),
               port(), metrics_port(), options_.coordinator);
  session_->Start();
  return absl::OkStatus();
}

Worker::~Worker() { Stop("destroyed"); }

void Worker::Stop(const std::string& reason) {
  if (std::exchange(stopped_, true)) return;
  if (jobs_ != nullptr) {
    jobs_->Stop(MakeError(absl::StatusCode::kUnavailable, "WORKER_STOPPED",
                          absl::StrCat("worker ", node_id_, " is stopping: ", reason)));
  }
  if (session_ != nullptr) session_->Stop(reason);
  inference_.Stop();
  if (runner_ != nullptr) runner_->Drain(kDrain);
  metrics_server_.reset();
}

absl::Status Worker::fatal() const {
  absl::MutexLock lock(&mutex_);
  return fatal_;
}

void Worker::OnCommand(const v1::CoordinatorMessage& command) { jobs_->OnCommand(command); }

void Worker::OnLeaseLost() { runner_->SetServing(false); }

// At once: a worker holds nothing that another could not compute again.
void Worker::OnOrphaned() {
  spdlog::error("the lease from {} is lost: dropping all jobs", options_.coordinator);
  jobs_->DropAll(absl::AbortedError("the worker's lease was lost"));
}

void Worker::OnWelcome() {
  spdlog::info("welcomed by {}", options_.coordinator);
  runner_->SetServing(true);
}

void Worker::OnRefused(const absl::Status& status) {
  spdlog::critical("refused by {}: {}", options_.coordinator, std::string(status.message()));
  {
    absl::MutexLock lock(&mutex_);
    fatal_ = status;
  }
  if (on_fatal_) on_fatal_();
}

std::vector<v1::HeldJob> Worker::HeldJobs() { return jobs_->HeldJobs(); }

}  // namespace paramd
