#include "worker/worker_job.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "common/model/parameter_layout.h"
#include "common/rpc/error_status.h"
#include "common/trace/trace_report.h"
#include "spdlog/spdlog.h"
#include "worker/data/open_dataset.h"
#include "worker/infer/generator.h"
#include "worker/parameter_client/link_transport.h"
#include "worker/train/chunk_exchange.h"

namespace paramd {
namespace {

// Gives an error without a reason of its own the reason `reason`.
absl::Status WithReason(const absl::Status& status, absl::string_view reason) {
  if (status.ok() || !ErrorReason(status).empty()) return status;
  return MakeError(status.code(), reason, status.message());
}

absl::Status CheckAssignment(const v1::PrepareWorker& command) {
  v1::JobSpec spec = command.assignment().spec();
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  const v1::Placement& placement = command.assignment().placement();
  const auto workers = static_cast<uint32_t>(placement.workers_size());
  if (command.worker_index() >= workers) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT",
                     absl::StrCat("worker ", command.worker_index(), " of ", workers));
  }
  const v1::WorkerPlacement& mine = placement.workers(static_cast<int>(command.worker_index()));
  const uint64_t end = uint64_t{mine.first_slot()} + mine.slot_count();
  if ((mine.slot_count() == 0 && !command.joining()) || end > spec.training().slots()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT",
                     absl::StrCat("slots [", mine.first_slot(), ", ", end, ") of ", spec.training().slots()));
  }
  return absl::OkStatus();
}

SlotRange ToRange(const v1::SlotSpan& span) { return {.first = span.first_slot(), .count = span.slot_count()}; }

WorkerChange ToWorkerChange(const v1::ChangeGeneration& command) {
  const v1::WorkerPlacement& mine = command.placement().workers(static_cast<int>(command.worker_index()));
  WorkerChange change = {.part = {.worker_index = command.worker_index(),
                                  .workers = static_cast<uint32_t>(command.placement().workers_size()),
                                  .slots = {.first = mine.first_slot(), .count = mine.slot_count()}},
                         .step = command.step(),
                         .own = ToRange(command.own()),
                         .first_clock = command.first_clock()};
  for (const v1::SlotSpan& span : command.inherited()) change.inherited.push_back(ToRange(span));
  return change;
}

v1::PrepareWorker Filled(v1::PrepareWorker command) {
  // An invalid spec stays as it is: Prepare reports why.
  v1::JobSpec spec = command.assignment().spec();
  if (FillDefaultsAndValidate(spec).ok()) *command.mutable_assignment()->mutable_spec() = std::move(spec);
  return command;
}

}  // namespace

WorkerJob::WorkerJob(const WorkerJobEnvironment& environment, v1::PrepareWorker command,
                     std::unique_ptr<WorkerJob> predecessor)
    : environment_(environment),
      command_(Filled(std::move(command))),
      spec_(command_.assignment().spec()),
      job_id_(command_.assignment().job_id()),
      generation_(command_.assignment().generation()),
      predecessor_(std::move(predecessor)),
      thread_([this] { Run(); }) {}

WorkerJob::~WorkerJob() {
  Drop(absl::CancelledError("worker job dropped"));
  thread_.join();
}

void WorkerJob::Run() {
  predecessor_.reset();
  absl::Status status = Prepare();
  if (status.ok()) {
    ReportPrepared();
    status = Train();
  }
  trace_.End();
  if (!status.ok() && cancelled().ok()) {
    spdlog::error("job {} generation {}: {}: {}", job_id_, generation(), ErrorReason(status),
                  std::string(status.message()));
    v1::JobReport report;
    *report.mutable_failed() = ToRpcStatus(status);
    Report(std::move(report));
  }
  {
    absl::MutexLock lock(&mutex_);
    phase_ = Phase::kOver;
    mutex_.Await(absl::Condition(
        +[](WorkerJob* job) ABSL_NO_THREAD_SAFETY_ANALYSIS { return job->released_ || job->silent_; }, this));
  }
  FreeAll();
  v1::JobReport report;
  report.mutable_released();
  Report(std::move(report));
  absl::MutexLock lock(&mutex_);
  done_ = true;
}

absl::Status WorkerJob::Prepare() {
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWorkerPrepare));
  RETURN_IF_ERROR(CheckAssignment(command_));
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec_.model()));
  ASSIGN_OR_RETURN(plan_, ArenaPlan::Create(std::move(layout), spec_.resources().chunk_elements()));
  ASSIGN_OR_RETURN(codecs_, CodecPlan::Create(spec_, plan_));
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWorkerDataOpen));
  ASSIGN_OR_RETURN(data_, OpenDataset(spec_));
  ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(spec_, data_->train_samples()));
  absl::StatusOr<CompiledModel> model = environment_.compile(spec_.model(), plan_, spec_.training().micro_batch());
  if (!model.ok()) return WithReason(model.status(), "MODEL_INVALID");
  model_ = *std::move(model);

  const v1::Placement& placement = command_.assignment().placement();
  const v1::WorkerPlacement& mine = placement.workers(static_cast<int>(command_.worker_index()));
  const SlotRange slots = {.first = mine.first_slot(), .count = mine.slot_count()};
  ASSIGN_OR_RETURN(std::unique_ptr<ParameterClient> client, MakeClient(slots));
  ParameterClient& connected = *client;
  std::unique_ptr<StepLoop> loop = MakeLoop(slots, std::move(sampler), connected);
  metrics_ = environment_.metrics.ForJob(job_id_);
  {
    absl::MutexLock lock(&mutex_);
    if (!cancelled_.ok()) return cancelled_;
    memory_bytes_ = static_cast<uint64_t>(loop->memory_bytes() + model_.program->memory_bytes());
    loop_ = std::move(loop);
    client_ = std::move(client);
  }
  return connected.WaitForConnections(environment_.connect_timeout);
}

absl::StatusOr<std::unique_ptr<ParameterClient>> WorkerJob::MakeClient(SlotRange slots) {
  ParameterClientOptions options;
  static_cast<DataPlaneOptions&>(options) = environment_.data_plane;
  options.caller = {.job_id = job_id_,
                    .generation = command_.assignment().generation(),  // And worker_index with it.
                    .worker_index = command_.worker_index(),
                    .worker_incarnation = environment_.incarnation};
  options.placement = command_.assignment().placement();
  options.credentials = environment_.credentials;
  options.codecs = &codecs_;
  options.trace = &trace_;
  options.segment = MakeSegment(slots);
  memory_ = std::make_shared<ArenaMemory>(options.segment);
  options.payload_owner = memory_;
  options.fence_limit = environment_.fence_limit;
  return ParameterClient::Create(std::move(options), plan_);
}

std::shared_ptr<SharedSegment> WorkerJob::MakeSegment(SlotRange slots) const {
  const auto& servers = command_.assignment().placement().servers();
  const bool local = std::any_of(servers.begin(), servers.end(), [this](const v1::ServerPlacement& server) {
    return MayBeLocal(environment_.data_plane.transport, server);
  });
  if (!local || !environment_.data_plane.shared_memory) return nullptr;
  if (slots.count == 0) {  // It joins: what comes then will be about an equal part.
    const auto workers = static_cast<uint32_t>(command_.assignment().placement().workers_size());
    slots = DealSlots(spec_.training().slots(), std::min(workers, spec_.training().slots())).front();
  }
  absl::StatusOr<std::shared_ptr<SharedSegment>> segment =
      SharedSegment::Create(ChunkExchange::SharedBytes(spec_, plan_, slots, codecs_));
  if (segment.ok()) return *std::move(segment);
  spdlog::warn("job {} generation {}: no shared memory, payloads go through sockets: {}", job_id_, generation(),
               std::string(segment.status().message()));
  return nullptr;
}

std::unique_ptr<StepLoop> WorkerJob::MakeLoop(SlotRange slots, Sampler sampler, ParameterClient& client) {
  const StepLoopOptions options = {.spec = spec_,
                                   .plan = plan_,
                                   .data = *data_,
                                   .program = *model_.program,
                                   .client = client,
                                   .worker_index = command_.worker_index(),
                                   .workers = static_cast<uint32_t>(command_.assignment().placement().workers_size()),
                                   .slots = slots,
                                   .first_step = command_.assignment().first_step(),
                                   .joining = command_.joining(),
                                   .memory = memory_,
                                   .codecs = &codecs_,
                                   .trace = &trace_};
  return std::make_unique<StepLoop>(options, std::move(sampler), static_cast<StepLoopObserver&>(*this));
}

absl::Status WorkerJob::Train() {
  StepLoop* loop = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](WorkerJob* job) ABSL_NO_THREAD_SAFETY_ANALYSIS { return job->start_ || !job->cancelled_.ok(); }, this));
    if (!cancelled_.ok()) return cancelled_;
    phase_ = Phase::kTraining;
    loop = loop_.get();  // Freed by this thread alone.
  }
  spdlog::info("job {} generation {}: training{}", job_id_, generation(), command_.joining() ? ", joining" : "");
  const absl::StatusOr<StepLoop::Result> run = RunLoop(loop);
  trace_.End();  // Its report goes before what follows.
  ASSIGN_OR_RETURN(const StepLoop::Result result, run);
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWorkerFinish));
  v1::JobReport report;
  report.mutable_finished()->set_step(result.step);
  if (loop->worker_index() == 0 && spec_.training().sample().tokens() > 0 && !result.stopped_early) {
    ASSIGN_OR_RETURN(*report.mutable_finished()->mutable_sample_text(), GenerateSample());
  }
  Report(std::move(report));
  return absl::OkStatus();
}

absl::StatusOr<StepLoop::Result> WorkerJob::RunLoop(StepLoop*& loop) {
  while (true) {
    absl::StatusOr<StepLoop::Result> run = loop->Run();
    if (!absl::IsAborted(run.status()) || ErrorReason(run.status()) != "REJOIN") return run;
    spdlog::info("job {} generation {}: {}", job_id_, generation(), std::string(run.status().message()));
    ASSIGN_OR_RETURN(loop, Rejoin());
  }
}

absl::StatusOr<StepLoop*> WorkerJob::Rejoin() {
  std::unique_ptr<StepLoop> loop;
  std::unique_ptr<ParameterClient> client;  // Gone first: its open requests borrow the loop's memory.
  {
    absl::MutexLock lock(&mutex_);
    client = std::move(client_);
    loop = std::move(loop_);
  }
  client.reset();
  loop.reset();
  ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(spec_, data_->train_samples()));
  ASSIGN_OR_RETURN(client, MakeClient(SlotRange()));
  loop = MakeLoop(SlotRange(), std::move(sampler), *client);
  StepLoop* const begun = loop.get();
  v1::JobReport report;
  {
    absl::MutexLock lock(&mutex_);
    if (!cancelled_.ok()) return cancelled_;
    loop->Change(ToWorkerChange(change_));
    client->ChangeGeneration(change_.generation(), change_.worker_index());
    if (stop_requested_) report.mutable_stop_point()->set_step(loop->RequestStop());
    if (stop_at_.has_value()) loop->StopAt(*stop_at_);
    loop_ = std::move(loop);
    client_ = std::move(client);
  }
  if (report.has_stop_point()) Report(std::move(report));  // The coordinator takes the first it gets of a worker.
  return begun;
}

absl::StatusOr<std::string> WorkerJob::GenerateSample() {
  absl::Span<const float> weights;
  {
    absl::MutexLock lock(&mutex_);
    weights = loop_->weights();
  }
  const v1::Gpt2Model& model = spec_.model().gpt2();
  const v1::SampleSpec& sample = spec_.training().sample();
  Generator generator(*model_.program, weights, {.context = model.context(), .vocab_size = model.vocab_size()});
  std::string text;
  RETURN_IF_ERROR(generator.GenerateText(sample.prompt(),
                                         {.max_tokens = sample.tokens(),
                                          .temperature = sample.temperature(),
                                          .top_k = sample.top_k(),
                                          .seed = spec_.seed()},
                                         [&](absl::string_view piece, int64_t) {
                                           text.append(piece.data(), piece.size());
                                           return cancelled();
                                         }));
  return text;
}

void WorkerJob::FreeAll() {
  std::unique_ptr<ParameterClient> client;
  std::unique_ptr<StepLoop> loop;
  {
    absl::MutexLock lock(&mutex_);
    client = std::move(client_);
    loop = std::move(loop_);
  }
  client.reset();
  loop.reset();
  memory_.reset();
  model_.program.reset();
  model_.device.reset();
  data_.reset();
  metrics_.reset();
}

absl::Status WorkerJob::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool WorkerJob::done() const {
  absl::MutexLock lock(&mutex_);
  return done_;
}

void WorkerJob::Report(v1::JobReport report) {
  {
    absl::MutexLock lock(&mutex_);
    if (silent_) return;
  }
  report.set_job_id(job_id_);
  report.set_generation(generation());
  environment_.report(std::move(report));
}

void WorkerJob::ReportPrepared() {
  v1::JobReport report;
  {
    absl::MutexLock lock(&mutex_);
    if (phase_ == Phase::kPreparing) phase_ = Phase::kPrepared;
    report.mutable_prepared()->set_memory_bytes(memory_bytes_);
  }
  Report(std::move(report));
}

void WorkerJob::RepeatPrepare() {
  {
    absl::MutexLock lock(&mutex_);
    if (phase_ != Phase::kPrepared) return;
  }
  ReportPrepared();
}

void WorkerJob::StartTraining() {
  absl::MutexLock lock(&mutex_);
  start_ = true;
}

void WorkerJob::ChangeGeneration(const v1::ChangeGeneration& command) {
  absl::MutexLock lock(&mutex_);
  if (command.generation() <= generation()) return;
  spdlog::info("job {} generation {}: worker {} of {}", job_id_, command.generation(), command.worker_index(),
               command.placement().workers_size());
  generation_ = command.generation();
  change_ = command;
  if (loop_ == nullptr) return;  // Rejoins, and takes the newest change; or has failed, as the coordinator will know.
  loop_->Change(ToWorkerChange(command));
  client_->ChangeGeneration(command.generation(), command.worker_index());
}

void WorkerJob::RequestStop() {
  v1::JobReport report;
  {
    absl::MutexLock lock(&mutex_);
    stop_requested_ = true;
    if (loop_ == nullptr)
      return;  // Begins anew, and answers then; or failed or released, as the coordinator will know.
    report.mutable_stop_point()->set_step(loop_->RequestStop());
  }
  Report(std::move(report));
}

void WorkerJob::StopAt(uint64_t step) {
  absl::MutexLock lock(&mutex_);
  stop_at_ = step;
  if (loop_ != nullptr) loop_->StopAt(step);
}

void WorkerJob::CollectTrace(const v1::CollectTrace& command) {
  trace_.Arm({.id = command.trace(), .steps = command.steps()}, [this](Trace trace) {
    v1::JobReport report;
    *report.mutable_trace() = ToTraceReport(trace);
    Report(std::move(report));
  });
}

void WorkerJob::Release() {
  absl::MutexLock lock(&mutex_);
  released_ = true;
  if (cancelled_.ok()) cancelled_ = MakeError(absl::StatusCode::kCancelled, "JOB_RELEASED", "the job was released");
  if (loop_ != nullptr) loop_->Cancel(cancelled_);
}

void WorkerJob::Drop(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  silent_ = true;
  if (cancelled_.ok()) cancelled_ = reason;
  if (loop_ != nullptr) loop_->Cancel(cancelled_);
}

void WorkerJob::Fail(const absl::Status& reason) {
  v1::JobReport report;
  *report.mutable_failed() = ToRpcStatus(reason);
  bool over = false;
  {
    absl::MutexLock lock(&mutex_);
    over = phase_ == Phase::kOver || released_;
  }
  if (!over) Report(std::move(report));
  Drop(reason);
}

void WorkerJob::OnStep(const StepReport& report) {
  ParameterClientStats stats;
  {
    absl::MutexLock lock(&mutex_);
    stats = client_->stats();
  }
  metrics_->Observe(report, stats);
}

void WorkerJob::OnProgress(const v1::WorkerProgress& progress) {
  v1::JobReport report;
  *report.mutable_progress() = progress;
  Report(std::move(report));
}

void WorkerJob::OnEvaluation(const v1::Evaluation& evaluation) {
  v1::JobReport report;
  *report.mutable_evaluation() = evaluation;
  Report(std::move(report));
}

}  // namespace paramd
