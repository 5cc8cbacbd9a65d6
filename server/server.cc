#include "server/server.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/host.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/config/version.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "common/trace/trace_report.h"
#include "server/checkpoint/weights_writer.h"
#include "spdlog/spdlog.h"

namespace paramd {

namespace {

constexpr uint32_t kProtocol = 1;
constexpr absl::Duration kDrain = absl::Seconds(5);
constexpr int64_t kMaxMessageBytes = (int64_t{1} << 20) * 4 + kMessageOverheadBytes;  // The largest chunk.

int ThreadCount(int option) {
  return option > 0 ? option : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

ParameterServer::ParameterServer(ServerOptions options, std::shared_ptr<const Credentials> credentials,
                                 std::function<void()> on_fatal)
    : options_(std::move(options)),
      credentials_(std::move(credentials)),
      on_fatal_(std::move(on_fatal)),
      incarnation_(NewIncarnation(clock_)),
      thread_count_(ThreadCount(options_.threads)),
      registry_(std::make_shared<prometheus::Registry>()),
      metrics_(registry_, thread_count_) {
  threads_ = std::make_unique<OwnerThreads>(OwnerThreadsOptions{.threads = thread_count_}, clock_, metrics_,
                                            [this](int thread, absl::Time now) { return Tick(thread, now); });
  jobs_ = std::make_unique<Jobs>(options_.MemoryLimitBytes(), JobEnvironment());
  checkpoints_ = std::make_unique<ServerCheckpoints>(ServerCheckpoints::Environment{
      .jobs = *jobs_,
      .clock = clock_,
      .registry = registry_,
      .report = [this](const std::string& job_id, uint64_t generation,
                       v1::JobReport report) { Report(job_id, generation, std::move(report)); },
      .leased = [this] { return CurrentLease() == Lease::kHeld; }});
  service_ = std::make_unique<ParameterService>(ParameterServiceOptions{.request_timeout = options_.request_timeout,
                                                                        .shared_memory = options_.shared_memory,
                                                                        .lease = [this] { return CurrentLease(); }},
                                                clock_, metrics_, *jobs_, *threads_);
}

absl::Time ParameterServer::Tick(int thread, absl::Time now) {
  absl::Time next = jobs_->Tick(thread, now);
  // One thread is enough; it goes on as long as the gauges have something to follow.
  if (thread == 0 && service_->UpdateMetrics()) next = std::min(next, now + OwnerThreads::kTickInterval);
  return next;
}

ServerJobEnvironment ParameterServer::JobEnvironment() {
  return {.threads = *threads_,
          .metrics = metrics_,
          .clock = clock_,
          .channels = channels_,
          .norm_timeout = options_.request_timeout,
          .on_failed = [this](const JobPlan& plan,
                              const absl::Status& status) { ReportFailed(plan.job_id, plan.generation, status); },
          .on_progress =
              [this](const JobPlan& plan, const v1::ServerProgress& progress) {
                v1::JobReport report;
                *report.mutable_server_progress() = progress;
                Report(plan.job_id, plan.generation, std::move(report));
              },
          .run_blocking = [this](std::function<void()> task) { checkpoints_->Post(std::move(task)); },
          .lease = [this] { return CurrentLease(); }};
}

Lease ParameterServer::CurrentLease() const {
  const CoordinatorSession* session = registered_session_.load(std::memory_order_acquire);
  if (session == nullptr) return Lease::kNone;
  if (session->lease_lost()) return Lease::kLost;
  return session->welcomed() ? Lease::kHeld : Lease::kNone;
}

absl::StatusOr<std::unique_ptr<ParameterServer>> ParameterServer::Start(ServerOptions options,
                                                                        std::function<void()> on_fatal) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(std::shared_ptr<const Credentials> credentials, Credentials::LoadForServer(options.tls));
  std::unique_ptr<ParameterServer> server(
      new ParameterServer(std::move(options), std::move(credentials), std::move(on_fatal)));
  RETURN_IF_ERROR(server->Listen());
  server->Register();
  return server;
}

absl::Status ParameterServer::Listen() {
  ASSIGN_OR_RETURN(metrics_server_, MetricsServer::Start({.listen_address = options_.metrics_listen}, registry_));
  metrics_server_->BeforeScrape([this] { metrics_.series().Expire(); });
  runner_ = std::make_unique<ServerRunner>(ServerRunnerOptions{.listen_address = options_.listen,
                                                               .local_socket = options_.local_socket,
                                                               .credentials = credentials_,
                                                               .max_message_bytes = kMaxMessageBytes,
                                                               .kind = ChannelKind::kBulk,
                                                               .bulk = options_.bulk,
                                                               .registry = registry_});
  runner_->AddService(service_.get(), "paramd.v1.ParameterService");
  RETURN_IF_ERROR(runner_->Start());
  if (options_.port_file.empty()) return absl::OkStatus();
  return AtomicWriteFile(options_.port_file,
                         absl::StrCat("{\"port\":", port(), ",\"metrics_port\":", metrics_port(), "}\n"));
}

void ParameterServer::Register() {
  node_id_ = options_.node_id.empty() ? absl::StrCat(HostName(), "-server-", port()) : options_.node_id;
  CoordinatorSessionOptions session;
  session.coordinator_address = options_.coordinator;
  session.credentials = credentials_;
  session.orphan_timeout = options_.orphan_timeout;
  v1::Register& registration = session.registration;
  registration.set_node_id(node_id_);
  registration.set_role(v1::NODE_ROLE_SERVER);
  registration.set_incarnation(incarnation_);
  registration.set_address(AdvertisedAddress(options_.advertise, options_.listen, port()));
  registration.set_metrics_address(AdvertisedAddress("", options_.metrics_listen, metrics_port()));
  registration.set_memory_limit_bytes(static_cast<uint64_t>(options_.MemoryLimitBytes()));
  registration.set_version(kVersion);
  registration.set_protocol(kProtocol);
  registration.set_host_id(options_.host_id.empty() ? HostId() : options_.host_id);
  registration.set_local_address(runner_->local_address());
  CoordinatorSessionHandler& handler = *this;  // The base is private to others.
  session_ = std::make_unique<CoordinatorSession>(std::move(session), handler);
  registered_session_.store(session_.get(), std::memory_order_release);
  metrics_server_->AddReadinessCheck("coordinator", [this] {
    return session_->welcomed() ? absl::OkStatus()
                                : absl::UnavailableError(absl::StrCat("no lease from ", options_.coordinator));
  });
  spdlog::info(
      "server {} listens on port {}{} and at {}, metrics on port {}, coordinator {}, memory limit {} bytes, {} threads",
      node_id_, port(), credentials_ == nullptr ? "" : " (TLS)",
      runner_->local_address().empty() ? "no local socket" : runner_->local_address(), metrics_port(),
      options_.coordinator, options_.MemoryLimitBytes(), thread_count_);
  session_->Start();
}

ParameterServer::~ParameterServer() { Stop("destroyed"); }

void ParameterServer::Stop(const std::string& reason) {
  if (std::exchange(stopped_, true)) return;
  if (session_ != nullptr) session_->Stop(reason);
  background_.Stop();
  jobs_->ReleaseAll(absl::StrCat("the server is stopping: ", reason));
  checkpoints_->Stop();
  if (runner_ != nullptr) runner_->Drain(kDrain);
  threads_->Stop();
  metrics_server_.reset();
}

absl::Status ParameterServer::fatal() const {
  absl::MutexLock lock(&mutex_);
  return fatal_;
}

void ParameterServer::OnCommand(const v1::CoordinatorMessage& command) {
  switch (command.message_case()) {
    case v1::CoordinatorMessage::kPrepareServer:
      return Prepare(command.prepare_server());
    case v1::CoordinatorMessage::kSave:
      return Save(command.save());
    case v1::CoordinatorMessage::kChangeGeneration:
      return ChangeGeneration(command.change_generation());
    case v1::CoordinatorMessage::kRelease:
      return Release(command.release());
    case v1::CoordinatorMessage::kCollectTrace:
      return CollectTrace(command.collect_trace());
    case v1::CoordinatorMessage::kCheckpoint:
      return checkpoints_->OnCommand(command.checkpoint());
    default:
      spdlog::warn("a command that is not for servers: {}", static_cast<int>(command.message_case()));
  }
}

void ParameterServer::Prepare(const v1::PrepareServer& command) {
  const v1::JobAssignment& assignment = command.assignment();
  spdlog::info("preparing job {} generation {}", assignment.job_id(), assignment.generation());
  if (const absl::Status injected = HitFailpoint(Failpoint::kServerPrepare); !injected.ok()) {
    return ReportFailed(assignment.job_id(), assignment.generation(), injected);
  }
  {
    absl::MutexLock lock(&mutex_);
    const auto found = saved_.find(assignment.job_id());
    if (found != saved_.end() && found->second.life != assignment.generation()) saved_.erase(found);
  }
  jobs_->Prepare(assignment, command.server_index(),
                 [this, job_id = assignment.job_id(), generation = assignment.generation(),
                  directory = ServerCheckpoints::DirectoryOf(assignment, options_.output_dir)](
                     const absl::StatusOr<int64_t>& memory_bytes) {
                   session_->SetMemoryUsed(static_cast<uint64_t>(jobs_->memory_used_bytes()));
                   if (!memory_bytes.ok()) return ReportFailed(job_id, generation, memory_bytes.status());
                   v1::JobReport report;
                   report.mutable_prepared()->set_memory_bytes(static_cast<uint64_t>(*memory_bytes));
                   report.mutable_prepared()->set_checkpoint_directory(directory);
                   Report(job_id, generation, std::move(report));
                 });
}

void ParameterServer::ChangeGeneration(const v1::ChangeGeneration& command) {
  spdlog::info("job {}: generation {} with {} workers", command.job_id(), command.generation(),
               command.placement().workers_size());
  const absl::Status status = jobs_->Adopt(
      command,
      [this, job_id = command.job_id(), generation = command.generation()](const v1::GenerationAdopted& adopted) {
        v1::JobReport report;
        *report.mutable_generation_adopted() = adopted;
        Report(job_id, generation, std::move(report));
      });
  // Not held: the coordinator takes that from the session's registration.
  if (!status.ok() && !absl::IsNotFound(status)) ReportFailed(command.job_id(), command.generation(), status);
}

void ParameterServer::Save(const v1::SaveWeights& command) {
  background_.Post([this, job_id = command.job_id(), generation = command.generation()] {
    absl::StatusOr<v1::WeightsSaved> saved = SaveOnce(job_id, generation);
    if (!saved.ok()) {
      // Without a lease it is not for this server to say that the job has failed: who wants the weights asks again.
      const bool silent = ErrorReason(saved.status()) == "SAVE_SUPERSEDED" || CurrentLease() == Lease::kLost;
      if (!silent) return ReportFailed(job_id, generation, saved.status());
      return spdlog::warn("job {}: {}", job_id, std::string(saved.status().message()));
    }
    v1::JobReport report;
    *report.mutable_saved() = *std::move(saved);
    Report(job_id, generation, std::move(report));
  });
}

absl::StatusOr<v1::WeightsSaved> ParameterServer::SaveOnce(const std::string& job_id, uint64_t generation) {
  const std::shared_ptr<ServerJob> job = jobs_->Find(job_id);
  if (job == nullptr) return absl::NotFoundError(absl::StrCat("no job ", job_id, " on this server"));
  const uint64_t life = job->plan().generation;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = saved_.find(job_id);
    if (found != saved_.end() && found->second.life == life) return found->second.weights;  // Asked again.
  }
  RETURN_IF_ERROR(job->shard().CheckGeneration(generation));
  const SaveWanted wanted = [&] {
    return CurrentLease() != Lease::kLost && jobs_->Find(job_id) == job && job->generation() == generation;
  };
  ASSIGN_OR_RETURN(
      v1::WeightsSaved saved,
      SaveWeights(job->plan(), options_.output_dir,
                  RemoteChunkFetcher(job->plan(), options_.request_timeout, credentials_, wanted), wanted));
  spdlog::info("saved the weights of job {} to {}, sha256 {}", job_id, saved.directory(), saved.sha256());
  absl::MutexLock lock(&mutex_);
  saved_[job_id] = {.life = life, .weights = saved};
  return saved;
}

void ParameterServer::Release(const v1::ReleaseJob& command) {
  spdlog::info("releasing job {}: {}", command.job_id(), command.reason());
  PassFailpoint(Failpoint::kServerRelease);
  {
    absl::MutexLock lock(&mutex_);
    saved_.erase(command.job_id());
  }
  checkpoints_->Forget(command.job_id());
  jobs_->Release(command.job_id(), command.generation(), command.reason(),
                 [this, job_id = command.job_id(), generation = command.generation()] {
                   session_->SetMemoryUsed(static_cast<uint64_t>(jobs_->memory_used_bytes()));
                   v1::JobReport report;
                   report.mutable_released();
                   Report(job_id, generation, std::move(report));
                 });
}

void ParameterServer::CollectTrace(const v1::CollectTrace& command) {
  TraceRecorder::Done done = [this, job_id = command.job_id(), generation = command.generation()](const Trace& trace) {
    v1::JobReport report;
    *report.mutable_trace() = ToTraceReport(trace);
    Report(job_id, generation, std::move(report));
  };
  const std::shared_ptr<ServerJob> job = jobs_->Find(command.job_id());
  const bool held = job != nullptr && job->shard().CheckGeneration(command.generation()).ok();
  if (!held) return done({.id = command.trace()});
  job->CollectTrace({.id = command.trace(), .steps = command.steps()}, std::move(done));
}

void ParameterServer::ReportFailed(const std::string& job_id, uint64_t generation, const absl::Status& status) {
  spdlog::error("job {}: {}", job_id, std::string(status.message()));
  v1::JobReport report;
  *report.mutable_failed() = ToRpcStatus(status);
  Report(job_id, generation, std::move(report));
}

void ParameterServer::Report(const std::string& job_id, uint64_t generation, v1::JobReport report) {
  report.set_job_id(job_id);
  report.set_generation(generation);
  session_->Report(std::move(report));
}

// The service refuses by itself what comes without a lease.
void ParameterServer::OnLeaseLost() {
  spdlog::error("the lease from {} is lost: requests are refused, the jobs are kept for {}", options_.coordinator,
                absl::FormatDuration(options_.orphan_timeout));
  runner_->SetServing(false);
}

void ParameterServer::OnOrphaned() {
  spdlog::error("no lease from {}: dropping all jobs", options_.coordinator);
  {
    absl::MutexLock lock(&mutex_);
    saved_.clear();
  }
  jobs_->ReleaseAll("the server's lease was lost");
  session_->SetMemoryUsed(0);
}

void ParameterServer::OnWelcome() {
  spdlog::info("welcomed by {}", options_.coordinator);
  runner_->SetServing(true);
}

void ParameterServer::OnRefused(const absl::Status& status) {
  spdlog::critical("refused by {}: {}", options_.coordinator, std::string(status.message()));
  {
    absl::MutexLock lock(&mutex_);
    fatal_ = status;
  }
  if (on_fatal_) on_fatal_();
}

std::vector<v1::HeldJob> ParameterServer::HeldJobs() { return jobs_->Held(); }

}  // namespace paramd
