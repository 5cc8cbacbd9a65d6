#include "server/server_checkpoints.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/error_status.h"
#include "server/checkpoint/checkpoint_directory.h"
#include "server/checkpoint/checkpoint_reader.h"
#include "server/checkpoint/shard_file.h"
#include "server/service/server_metrics.h"
#include "spdlog/spdlog.h"

namespace paramd {

ServerCheckpoints::ServerCheckpoints(Environment environment)
    : environment_(std::move(environment)),
      write_duration_(prometheus::BuildHistogram()
                          .Name("paramd_checkpoint_write_duration_seconds")
                          .Help("Time to write and sync this server's part of a checkpoint")
                          .Register(*environment_.registry)
                          .Add({}, ServerMetrics::DurationBuckets())),
      written_bytes_(prometheus::BuildCounter()
                         .Name("paramd_checkpoint_written_bytes_total")
                         .Help("Bytes of checkpoints written by this server")
                         .Register(*environment_.registry)
                         .Add({})),
      failures_(prometheus::BuildCounter()
                    .Name("paramd_checkpoint_failures_total")
                    .Help("Operations on checkpoints that failed on this server")
                    .Register(*environment_.registry)) {
  for (const char* operation : {"take", "commit", "select", "verify", "delete"})
    failures_.Add({{"operation", operation}});
}

std::string ServerCheckpoints::DirectoryOf(const v1::JobAssignment& assignment, const std::string& default_directory) {
  const std::string& own = assignment.spec().output().directory();
  return absl::StrCat(own.empty() ? default_directory : own, "/", assignment.job_id(), "/checkpoints");
}

void ServerCheckpoints::OnCommand(const v1::CheckpointCommand& command) {
  switch (command.command_case()) {
    case v1::CheckpointCommand::kTake:
      return Take(command);
    case v1::CheckpointCommand::kAbandon:
      return Abandon(command);
    case v1::CheckpointCommand::kCommit:
      return Post([this, command] { Commit(command); });
    case v1::CheckpointCommand::kSelect:
      return Post([this, command] { Select(command); });
    case v1::CheckpointCommand::kVerify:
      return Post([this, command] { Verify(command); });
    case v1::CheckpointCommand::kRemove:
      return Post([this, command] { Remove(command); });
    default:
      spdlog::warn("a checkpoint command of a newer coordinator: {}", static_cast<int>(command.command_case()));
  }
}

void ServerCheckpoints::Forget(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  taking_.erase(job_id);
}

bool ServerCheckpoints::Current(const v1::CheckpointCommand& command) {
  absl::MutexLock lock(&mutex_);
  const auto found = taking_.find(command.job_id());
  return found != taking_.end() && found->second.number == command.number() && !found->second.abandoned;
}

void ServerCheckpoints::Take(const v1::CheckpointCommand& command) {
  const std::shared_ptr<ServerJob> job = environment_.jobs.Find(command.job_id());
  if (job == nullptr) return;  // Released, or lost with the lease: the coordinator knows or will know.
  {
    absl::MutexLock lock(&mutex_);
    Taking& taking = taking_[command.job_id()];
    if (command.number() < taking.number) return;
    if (command.number() == taking.number) {
      if (taking.answer.has_value()) Report(command, *taking.answer);
      return;
    }
    taking = {.number = command.number()};
  }
  const uint32_t server_index = job->plan().server_index;
  job->Capture(command.step(), [this, command, server_index](absl::StatusOr<std::vector<ChunkCapture>> captured) {
    if (!captured.ok()) return AnswerFailed(command, captured.status());
    const auto captures = std::make_shared<std::vector<ChunkCapture>>(*std::move(captured));
    Post([this, command, server_index, captures] {
      if (!Current(command)) return;
      if (!environment_.leased()) return AnswerFailed(command, absl::UnavailableError("this server has no lease"));
      absl::StatusOr<v1::CheckpointShard> shard = Write(command, server_index, *captures);
      if (!shard.ok()) return AnswerFailed(command, shard.status());
      v1::CheckpointReport report;
      *report.mutable_shard() = *std::move(shard);
      Answer(command, std::move(report));
    });
  });
}

absl::StatusOr<v1::CheckpointShard> ServerCheckpoints::Write(const v1::CheckpointCommand& command,
                                                             uint32_t server_index,
                                                             const std::vector<ChunkCapture>& captures) {
  const absl::Time start = environment_.clock.Now();
  RETURN_IF_ERROR(PrepareCheckpoint(command.directory(), command.step()));
  const std::string path = CheckpointPath(command.directory(), command.step());
  ASSIGN_OR_RETURN(ShardWriter writer, ShardWriter::Create(ShardPath(path, server_index, command.generation())));
  for (const ChunkCapture& capture : captures) RETURN_IF_ERROR(writer.Append(capture));
  v1::CheckpointShard shard;
  ASSIGN_OR_RETURN(*shard.add_files(), writer.Finish());
  write_duration_.Observe(absl::ToDoubleSeconds(environment_.clock.Now() - start));
  written_bytes_.Increment(static_cast<double>(shard.files(0).bytes()));
  return shard;
}

void ServerCheckpoints::Abandon(const v1::CheckpointCommand& command) {
  const std::shared_ptr<ServerJob> job = environment_.jobs.Find(command.job_id());
  const bool lead = job != nullptr && job->plan().is_lead();
  {
    absl::MutexLock lock(&mutex_);
    Taking& taking = taking_[command.job_id()];
    if (command.number() < taking.number) return;
    taking = {.number = command.number(), .abandoned = true};
  }
  if (job != nullptr) job->CancelCapture();
  if (lead) Post([this, command] { RemoveAbandoned(command); });
}

void ServerCheckpoints::RemoveAbandoned(const v1::CheckpointCommand& command) {
  if (!environment_.leased()) return;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = taking_.find(command.job_id());
    if (found != taking_.end() && found->second.number > command.number()) return;
  }
  // A complete one is never abandoned: it was committed before the coordinator heard of it, or is an earlier one of
  // the same step that nothing has been written over yet.
  if (MayBeComplete(command.directory(), command.step())) return;
  const absl::Status removed = RemoveCheckpoint(command.directory(), command.step());
  if (!removed.ok()) spdlog::warn("job {}: {}", command.job_id(), std::string(removed.message()));
}

void ServerCheckpoints::Commit(const v1::CheckpointCommand& command) {
  const std::shared_ptr<ServerJob> job = environment_.jobs.Find(command.job_id());
  if (job == nullptr || !Current(command)) return;
  const auto wanted = [&] {
    return environment_.leased() && Current(command) && environment_.jobs.Find(command.job_id()) == job;
  };
  const absl::StatusOr<CommittedCheckpoint> committed = CommitCheckpoint(
      job->plan(), command.directory(), command.step(), command.commit(), environment_.clock.Now(), wanted);
  if (!committed.ok()) {
    failures_.Add({{"operation", "commit"}}).Increment();
    v1::CheckpointReport report;
    *report.mutable_failed() = ToRpcStatus(committed.status());
    return Report(command, std::move(report));
  }
  spdlog::info("job {}: checkpoint of step {}, {} bytes", command.job_id(), command.step(), committed->bytes);
  v1::CheckpointReport report;
  report.mutable_committed()->set_bytes(committed->bytes);
  for (uint64_t step : committed->removed) report.mutable_committed()->add_removed(step);
  Report(command, std::move(report));
}

void ServerCheckpoints::Select(const v1::CheckpointCommand& command) {
  v1::CheckpointReport report;
  const absl::StatusOr<SelectedCheckpoint> selected = SelectCheckpoint(command.directory(), command.step());
  if (selected.ok()) {
    for (const std::string& skipped : selected->skipped) {
      failures_.Add({{"operation", "select"}}).Increment();
      spdlog::error("job {}: checkpoint skipped: {}", command.job_id(), skipped);
      report.mutable_selected()->add_skipped(skipped);
    }
    report.mutable_selected()->set_directory(selected->directory);
    report.mutable_selected()->set_bytes(selected->bytes);
    report.set_step(selected->step);
  } else {
    failures_.Add({{"operation", "select"}}).Increment();
    *report.mutable_failed() = ToRpcStatus(selected.status());
  }
  Report(command, std::move(report));
}

void ServerCheckpoints::Verify(const v1::CheckpointCommand& command) {
  v1::CheckpointReport report;
  const absl::StatusOr<CheckpointReader> reader = CheckpointReader::Open(command.directory());
  const absl::Status status = reader.ok() ? reader->Verify() : reader.status();
  if (status.ok()) {
    report.mutable_verified()->set_bytes(reader->bytes());
  } else {
    failures_.Add({{"operation", "verify"}}).Increment();
    spdlog::error("job {}: checkpoint of step {}: {}", command.job_id(), command.step(), std::string(status.message()));
    *report.mutable_failed() = ToRpcStatus(status);
  }
  Report(command, std::move(report));
}

void ServerCheckpoints::Remove(const v1::CheckpointCommand& command) {
  v1::CheckpointReport report;
  const std::string parent = command.directory().substr(0, command.directory().rfind('/'));
  const absl::Status status = RemoveCheckpoint(parent, command.step());
  if (status.ok()) {
    report.mutable_deleted();
  } else {
    failures_.Add({{"operation", "delete"}}).Increment();
    *report.mutable_failed() = ToRpcStatus(status);
  }
  Report(command, std::move(report));
}

void ServerCheckpoints::Answer(const v1::CheckpointCommand& command, v1::CheckpointReport report) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = taking_.find(command.job_id());
    if (found == taking_.end() || found->second.number != command.number() || found->second.abandoned) return;
    found->second.answer = report;
  }
  Report(command, std::move(report));
}

void ServerCheckpoints::AnswerFailed(const v1::CheckpointCommand& command, const absl::Status& status) {
  v1::CheckpointReport report;
  const ErrorMetadata metadata = GetErrorMetadata(status);
  const auto version = metadata.find("version");
  uint64_t value = 0;
  if (ErrorReason(status) == "CHECKPOINT_MISSED" && version != metadata.end() &&
      absl::SimpleAtoi(version->second, &value)) {
    report.mutable_missed()->set_version(value);
  } else {
    failures_.Add({{"operation", "take"}}).Increment();
    spdlog::error("job {}: checkpoint of step {}: {}", command.job_id(), command.step(), std::string(status.message()));
    *report.mutable_failed() = ToRpcStatus(status);
  }
  Answer(command, std::move(report));
}

void ServerCheckpoints::Report(const v1::CheckpointCommand& command, v1::CheckpointReport report) {
  report.set_number(command.number());
  if (report.step() == 0) report.set_step(command.step());
  v1::JobReport job_report;
  *job_report.mutable_checkpoint() = std::move(report);
  environment_.report(command.job_id(), command.generation(), std::move(job_report));
}

}  // namespace paramd
