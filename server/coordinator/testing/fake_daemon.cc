#include "server/coordinator/testing/fake_daemon.h"

#include <algorithm>
#include <utility>

#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "server/coordinator/membership.h"

namespace paramd {

void FakeDaemon::Start() {
  stub_ = v1::ClusterService::NewStub(CreateChannel(options_.address, {}));
  context_ = std::make_unique<grpc::ClientContext>();
  context_->set_wait_for_ready(true);
  {
    absl::MutexLock lock(&mutex_);
    ended_ = false;
  }
  stream_ = stub_->Session(context_.get());
  v1::DaemonMessage message;
  v1::Register& registration = *message.mutable_register_();
  registration.set_node_id(options_.node_id);
  registration.set_role(options_.role);
  registration.set_incarnation(options_.incarnation);
  registration.set_address("127.0.0.1:1");
  registration.set_protocol(kClusterProtocol);
  registration.set_version("fake");
  if (options_.role == v1::NODE_ROLE_SERVER) registration.set_memory_limit_bytes(options_.memory_limit_bytes);
  if (options_.role == v1::NODE_ROLE_WORKER) registration.set_job_capacity(options_.job_capacity);
  {
    absl::MutexLock lock(&mutex_);
    if (!assignment_.job_id().empty()) {
      registration.add_held_jobs()->set_job_id(assignment_.job_id());
      registration.mutable_held_jobs(0)->set_generation(assignment_.generation());
    }
  }
  Write(message);
  reader_ = std::thread([this] { ReadLoop(); });
  heart_ = std::thread([this] { HeartbeatLoop(); });
}

void FakeDaemon::Disconnect() {
  if (!reader_.joinable()) return;
  context_->TryCancel();
  reader_.join();
  heart_.join();
}

void FakeDaemon::Kill() {
  Disconnect();
  absl::MutexLock lock(&mutex_);
  assignment_.Clear();
}

void FakeDaemon::Leave() {
  v1::DaemonMessage message;
  message.mutable_goodbye()->set_reason("test");
  Write(message);
  WaitForEnd(absl::Seconds(10));
  Kill();
}

void FakeDaemon::ReadLoop() {
  v1::CoordinatorMessage message;
  while (stream_->Read(&message)) {
    {
      absl::MutexLock lock(&mutex_);
      commands_.push_back(message);
      if (message.has_welcome()) heartbeat_ = absl::Milliseconds(message.welcome().heartbeat_ms());
    }
    Answer(message);
  }
  const absl::Status status = FromGrpcStatus(stream_->Finish());
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  end_status_ = status;
}

void FakeDaemon::HeartbeatLoop() {
  for (uint64_t sequence = 1;; ++sequence) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ended_), heartbeat_)) return;
    }
    v1::DaemonMessage message;
    message.mutable_heartbeat()->set_sequence(sequence);
    Write(message);
  }
}

void FakeDaemon::Answer(const v1::CoordinatorMessage& command) {
  v1::JobReport report;
  switch (command.message_case()) {
    case v1::CoordinatorMessage::kPrepareServer:
      return Prepare(command.prepare_server().assignment());
    case v1::CoordinatorMessage::kPrepareWorker: {
      const v1::JobAssignment& assignment = command.prepare_worker().assignment();
      {
        absl::MutexLock lock(&mutex_);
        worker_slots_ = assignment.placement().workers(command.prepare_worker().worker_index()).slot_count();
      }
      return Prepare(assignment);
    }
    case v1::CoordinatorMessage::kChangeGeneration: {
      {
        absl::MutexLock lock(&mutex_);
        assignment_.set_generation(command.change_generation().generation());
      }
      if (options_.role != v1::NODE_ROLE_SERVER) return;
      report.mutable_generation_adopted();  // Nothing has been pushed.
      return Report(report);
    }
    case v1::CoordinatorMessage::kStart: {
      if (!options_.train) return;
      uint64_t steps = 0;
      {
        absl::MutexLock lock(&mutex_);
        if (reported_step_ > 0) return;  // Started before.
        steps = assignment_.spec().training().steps();
      }
      return Train(steps, 0.5);
    }
    case v1::CoordinatorMessage::kStopRequest:
      report.mutable_stop_point()->set_step(options_.stop_point);
      return Report(report);
    case v1::CoordinatorMessage::kStopAt:
      report.mutable_finished()->set_step(command.stop_at().step());
      return Report(report);
    case v1::CoordinatorMessage::kSave:
      report.mutable_saved()->set_directory("/out/" + command.save().job_id());
      report.mutable_saved()->set_sha256("0123abcd");
      return Report(report);
    case v1::CoordinatorMessage::kCollectTrace:
      if (!options_.trace) return;
      *report.mutable_trace() = TraceOf(command.collect_trace());
      return Report(report);
    case v1::CoordinatorMessage::kRelease: {
      report.set_job_id(command.release().job_id());
      report.set_generation(command.release().generation());
      report.mutable_released();
      Report(report);
      absl::MutexLock lock(&mutex_);
      if (assignment_.job_id() == command.release().job_id()) assignment_.Clear();
      return;
    }
    default:
      return;
  }
}

void FakeDaemon::Prepare(const v1::JobAssignment& assignment) {
  if (!options_.prepare) return;
  {
    absl::MutexLock lock(&mutex_);
    assignment_ = assignment;
    reported_step_ = 0;
  }
  v1::JobReport report;
  report.mutable_prepared()->set_memory_bytes(1);
  Report(report);
}

v1::TraceReport FakeDaemon::TraceOf(const v1::CollectTrace& command) const {
  v1::TraceReport report;
  report.set_trace(command.trace());
  int64_t start_us = 1'000'000;
  for (uint32_t i = 0; i < command.steps(); ++i) {
    for (int j = 0; j < options_.trace_spans_per_step; ++j) {
      v1::TraceSpan& span = *report.add_spans();
      span.set_lane(options_.role == v1::NODE_ROLE_SERVER ? "owner 0" : "compute");
      span.set_name(options_.role == v1::NODE_ROLE_SERVER ? "apply" : "forward");
      span.set_step(options_.trace_first_step + i);
      span.set_start_us(start_us);
      span.set_duration_us(90);
      start_us += 100;
    }
  }
  return report;
}

void FakeDaemon::ReportProgress(uint64_t step, double loss) {
  v1::JobReport report;
  {
    absl::MutexLock lock(&mutex_);
    v1::WorkerProgress& progress = *report.mutable_progress();
    for (; reported_step_ < step; ++reported_step_) {
      v1::StepLoss& entry = *progress.add_losses();
      entry.set_step(reported_step_);
      entry.set_loss_sum(loss * worker_slots_);
      entry.set_slots(worker_slots_);
    }
    progress.set_step(step);
    progress.set_samples(step * worker_slots_ * assignment_.spec().training().micro_batch());
    progress.set_training_seconds(1);
  }
  Report(report);
}

void FakeDaemon::Train(uint64_t steps, double loss) {
  ReportProgress(steps, loss);
  v1::JobReport evaluation;
  evaluation.mutable_evaluation()->set_step(steps);
  evaluation.mutable_evaluation()->set_loss_sum(2 * loss);
  evaluation.mutable_evaluation()->set_count(2);
  evaluation.mutable_evaluation()->set_correct(1);
  Report(evaluation);
  v1::JobReport finished;
  finished.mutable_finished()->set_step(steps);
  Report(finished);
}

void FakeDaemon::Report(v1::JobReport report) {
  {
    absl::MutexLock lock(&mutex_);
    if (report.job_id().empty()) {
      report.set_job_id(assignment_.job_id());
      report.set_generation(assignment_.generation());
    }
    const bool numbered = !report.has_progress() && !report.has_server_progress() && !report.has_trace();
    if (numbered) report.set_number(next_number_++);
  }
  v1::DaemonMessage message;
  *message.mutable_report() = std::move(report);
  Write(message);
}

void FakeDaemon::Write(const v1::DaemonMessage& message) {
  absl::MutexLock lock(&write_mutex_);
  stream_->Write(message);  // False when the session is over; the reader finds out why.
}

bool FakeDaemon::WaitForCommand(v1::CoordinatorMessage::MessageCase kind, absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto arrived = [this, kind]() {
    mutex_.AssertHeld();
    return std::any_of(commands_.begin(), commands_.end(), [kind](const auto& c) { return c.message_case() == kind; });
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&arrived), timeout);
}

bool FakeDaemon::WaitForEnd(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&ended_), timeout);
}

absl::Status FakeDaemon::end_status() {
  absl::MutexLock lock(&mutex_);
  return end_status_;
}

std::vector<v1::CoordinatorMessage> FakeDaemon::commands() {
  absl::MutexLock lock(&mutex_);
  return commands_;
}

}  // namespace paramd
