// Checkpoints of a job: when they are taken, what became of them, pause, resume.
//
// A checkpoint is of one step boundary, which is chosen ahead: all servers are told to keep their chunks as they are
// then, and write them in the background. When all have, the lead server puts the manifest in place. One is taken at a
// time. If a chunk is beyond the step when its server hears of it, a later step is tried.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/rpc/error_status.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/job_outcome.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::JobRecord;
using coordinator::PendingCheckpoint;

constexpr uint32_t kMaxAttempts = 20;  // Steps tried, each twice as far ahead as the last.
// Between the attempts of a job to write what it pauses from: twice as long each time, as long as its phase may last.
constexpr absl::Duration kFirstPauseRetry = absl::Seconds(1);
constexpr uint32_t kMaxPauseRetryDoublings = 5;
// Numbers of commands that are no checkpoint's taking.
constexpr uint64_t kTaskNumber = 0;  // To verify or delete.
constexpr uint64_t kSelectNumber = UINT64_MAX;

bool Complete(const JobRecord& record) {
  return static_cast<int>(record.pending_checkpoint().server_shards().size()) == record.servers_size();
}

bool Reached(const JobRecord& record) {
  const PendingCheckpoint& pending = record.pending_checkpoint();
  return record.job().progress().step() >= pending.step() || !pending.server_shards().empty();
}

// Whether workers keep what their codecs have lost.
bool LosesResiduals(const v1::JobSpec& spec) {
  const auto keeps = [](v1::Codec codec) {
    return codec == v1::CODEC_INT8 || codec == v1::CODEC_TOPK || codec == v1::CODEC_ONEBIT;
  };
  const auto& groups = spec.optimizer().groups();
  return keeps(spec.communication().push_codec()) ||
         std::any_of(groups.begin(), groups.end(), [&](const auto& group) { return keeps(group.push_codec()); });
}

v1::Checkpoint PendingView(const JobRecord& record) {
  const PendingCheckpoint& pending = record.pending_checkpoint();
  v1::Checkpoint view;
  view.set_step(pending.step());
  view.set_state(v1::CHECKPOINT_STATE_WRITING);
  view.set_directory(absl::StrCat(record.checkpoint_directory(), "/", pending.step()));
  *view.mutable_create_time() = pending.create_time();
  return view;
}

}  // namespace

// ------------------------------------------------------------------------------------------------ commands

bool JobMachine::pausing() const {
  return record_.pause_requested() && record_.job().phase() == v1::JOB_PHASE_SAVING && record_.has_pending_checkpoint();
}

v1::CoordinatorMessage JobMachine::CheckpointMessage(uint64_t number, uint64_t step) const {
  v1::CoordinatorMessage message;
  v1::CheckpointCommand& command = *message.mutable_checkpoint();
  command.set_job_id(record_.job().job_id());
  command.set_generation(record_.job().generation());
  command.set_number(number);
  command.set_directory(record_.checkpoint_directory());
  command.set_step(step);
  return message;
}

void JobMachine::SendSelect() {
  v1::CoordinatorMessage message = CheckpointMessage(kSelectNumber, record_.restore().step());
  message.mutable_checkpoint()->set_directory(record_.restore().from());
  message.mutable_checkpoint()->mutable_select();
  Send(Server(0), std::move(message));
}

void JobMachine::SendCheckpointCommands(const NodeRef& node) {
  if (!record_.has_pending_checkpoint() || node.role != v1::NODE_ROLE_SERVER) return;
  const PendingCheckpoint& pending = record_.pending_checkpoint();
  if (pending.has_not_before()) return;
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (!(Server(i) == node)) continue;
    v1::CoordinatorMessage message = CheckpointMessage(pending.number(), pending.step());
    if (!pending.server_shards().contains(i)) {
      message.mutable_checkpoint()->mutable_take();
    } else if (i == 0 && Complete(record_)) {
      v1::CommitCheckpoint& commit = *message.mutable_checkpoint()->mutable_commit();
      commit.set_keep(job().spec().checkpoint().keep());
      commit.set_servers(record_.servers_size());
      for (int shard = 0; shard < record_.servers_size(); ++shard)
        *commit.add_shards() = pending.server_shards().at(shard);
    } else {
      continue;
    }
    Send(node, std::move(message));
  }
}

void JobMachine::SendCheckpointCommandsToAll() {
  for (int i = 0; i < record_.servers_size(); ++i) SendCheckpointCommands(Server(i));
}

// ------------------------------------------------------------------------------------------------ taking one

void JobMachine::TakeCheckpoint(uint64_t step, bool requested, uint32_t attempts, absl::Duration delay) {
  effects_.changed = true;
  const google::protobuf::Timestamp since =
      record_.has_pending_checkpoint() ? record_.pending_checkpoint().create_time() : ToTimestamp(now_);
  auto& known = *record_.mutable_checkpoints();
  for (int i = known.size() - 1; i >= 0; --i) {  // One of the step from before a restore is written over.
    if (known[i].step() == step) known.DeleteSubrange(i, 1);
  }
  record_.set_last_checkpoint_number(record_.last_checkpoint_number() + 1);
  PendingCheckpoint& pending = *record_.mutable_pending_checkpoint();
  pending.Clear();
  pending.set_number(record_.last_checkpoint_number());
  pending.set_step(step);
  pending.set_requested(requested);
  pending.set_attempts(attempts);
  *pending.mutable_create_time() = since;
  if (delay > absl::ZeroDuration()) *pending.mutable_not_before() = ToTimestamp(now_ + delay);
  SendCheckpointCommandsToAll();
}

uint64_t JobMachine::NextPeriodicCheckpoint(uint64_t after) const {
  const uint64_t every = record_.job().spec().checkpoint().every_steps();
  return (after / every + 1) * every;
}

bool JobMachine::CheckpointDue(const JobRecord& record, absl::Time now) {
  if (record.job().phase() != v1::JOB_PHASE_TRAINING && !record.has_pending_checkpoint()) return false;
  if (record.has_pending_checkpoint()) {
    const PendingCheckpoint& pending = record.pending_checkpoint();
    if (pending.has_not_before()) return now >= FromTimestamp(pending.not_before());
    return pending.has_deadline() ? now >= FromTimestamp(pending.deadline()) : Reached(record);
  }
  const uint64_t every = record.job().spec().checkpoint().every_steps();
  return every > 0 && record.next_checkpoint_step() < record.job().spec().training().steps();
}

void JobMachine::OnCheckpointTick() {
  if (!CheckpointDue(record_, now_)) return;
  if (record_.has_pending_checkpoint()) {
    PendingCheckpoint& pending = *record_.mutable_pending_checkpoint();
    if (pending.has_not_before()) {
      pending.clear_not_before();
      effects_.changed = true;
      return SendCheckpointCommandsToAll();
    }
    if (!pending.has_deadline()) {
      *pending.mutable_deadline() = ToTimestamp(now_ + options_.checkpoint_timeout);
      effects_.changed = true;
      return;
    }
    std::vector<std::string> missing;
    for (int i = 0; i < record_.servers_size(); ++i) {
      if (!pending.server_shards().contains(i)) missing.push_back(Describe(Server(i)));
    }
    if (missing.empty()) missing.push_back(Describe(Server(0)));
    return FailCheckpoint(absl::StrCat("not written within ", absl::FormatDuration(options_.checkpoint_timeout), " by ",
                                       absl::StrJoin(missing, ", ")));
  }
  const uint64_t done = std::max<uint64_t>(job().progress().step(), record_.restore().first_step());
  const uint64_t step = NextPeriodicCheckpoint(std::max<uint64_t>(done, record_.next_checkpoint_step()));
  record_.set_next_checkpoint_step(step);
  effects_.changed = true;
  if (step < job().spec().training().steps()) TakeCheckpoint(step, false, 0);
}

absl::StatusOr<v1::Checkpoint> JobMachine::OnCreateCheckpoint() {
  if (job().phase() != v1::JOB_PHASE_TRAINING || record_.checkpoint_directory().empty()) {
    return Refused("JOB_NOT_TRAINING", "is not in training: there is nothing to take a checkpoint of");
  }
  const uint64_t soon = std::min<uint64_t>(job().progress().step() + 2, job().spec().training().steps());
  const bool pending = record_.has_pending_checkpoint();
  if (!pending ||
      (!record_.pending_checkpoint().requested() && !Reached(record_) && record_.pending_checkpoint().step() > soon)) {
    TakeCheckpoint(soon, true, 0);
  }
  return PendingView(record_);
}

void JobMachine::OnCheckpointMissed(uint64_t version) {
  const PendingCheckpoint pending = record_.pending_checkpoint();
  const uint64_t steps = job().spec().training().steps();
  if (pending.attempts() >= kMaxAttempts) {
    return FailCheckpoint(absl::StrCat("steps go by faster than the servers can be told of one: at ", version,
                                       " after ", pending.attempts(), " attempts"));
  }
  const uint64_t ahead = version + 1 + (uint64_t{1} << pending.attempts());
  if (pending.requested()) return TakeCheckpoint(std::min(ahead, steps), true, pending.attempts() + 1);
  const uint64_t step = NextPeriodicCheckpoint(ahead);
  record_.set_next_checkpoint_step(step);
  if (step < steps) return TakeCheckpoint(step, false, pending.attempts() + 1);
  AbandonCheckpoint("the job ends before the next one is due");
}

void JobMachine::OnCheckpointShard(const NodeRef& from, const v1::CheckpointShard& shard) {
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (Server(i) == from) (*record_.mutable_pending_checkpoint()->mutable_server_shards())[i] = shard;
  }
  effects_.changed = true;
  if (Complete(record_)) SendCheckpointCommands(Server(0));
}

void JobMachine::OnCheckpointCommitted(const v1::CheckpointCommitted& committed) {
  const PendingCheckpoint pending = record_.pending_checkpoint();
  v1::Checkpoint checkpoint = PendingView(record_);
  checkpoint.set_state(v1::CHECKPOINT_STATE_COMMITTED);
  checkpoint.set_bytes(committed.bytes());
  *checkpoint.mutable_create_time() = ToTimestamp(now_);
  record_.clear_pending_checkpoint();
  record_.clear_failed_checkpoint();
  // From now on the newest one is of the life that somebody chose.
  if (record_.has_restore()) record_.mutable_restore()->clear_step();
  auto& list = *record_.mutable_checkpoints();
  const auto gone = [&](const v1::Checkpoint& c) {
    return c.step() >= pending.step() ||
           std::find(committed.removed().begin(), committed.removed().end(), c.step()) != committed.removed().end();
  };
  list.erase(std::remove_if(list.begin(), list.end(), gone), list.end());
  *list.Add() = checkpoint;
  const absl::Duration took = now_ - FromTimestamp(pending.create_time());
  AddEvent("CHECKPOINTED",
           absl::StrCat("step ", pending.step(), ": ", committed.bytes(), " bytes in ", checkpoint.directory(), ", ",
                        absl::FormatDuration(absl::Trunc(took, absl::Milliseconds(1))), " after it was asked for"));
  if (!record_.pause_requested() || job().phase() != v1::JOB_PHASE_SAVING) return;
  Release(MakeOutcome(v1::JOB_STATE_PAUSED, "PAUSED",
                      absl::StrCat("paused at step ", pending.step(), "; paramctl resume ", job().job_id())));
}

void JobMachine::FailCheckpoint(const std::string& message) {
  const PendingCheckpoint pending = record_.pending_checkpoint();
  v1::Checkpoint failed = PendingView(record_);
  failed.set_state(v1::CHECKPOINT_STATE_FAILED);
  failed.set_message(message);
  const bool pause = pausing();
  const absl::Duration delay = kFirstPauseRetry * (1 << std::min(pending.attempts(), kMaxPauseRetryDoublings));
  AddEvent("CHECKPOINT_FAILED",
           absl::StrCat("step ", pending.step(), ": ", message, "; the checkpoints before it are not touched",
                        pause ? absl::StrCat(", tried again in ", absl::FormatDuration(delay)) : ""),
           true);
  AbandonCheckpoint("");
  *record_.mutable_failed_checkpoint() = std::move(failed);
  if (pause) TakeCheckpoint(pending.step(), true, pending.attempts() + 1, delay);
}

void JobMachine::AbandonCheckpoint(const std::string& why) {
  if (!record_.has_pending_checkpoint()) return;
  const PendingCheckpoint pending = record_.pending_checkpoint();
  record_.clear_pending_checkpoint();
  effects_.changed = true;
  for (int i = 0; i < record_.servers_size(); ++i) {
    v1::CoordinatorMessage message = CheckpointMessage(pending.number(), pending.step());
    message.mutable_checkpoint()->mutable_abandon();
    Send(Server(i), std::move(message));
  }
  if (why.empty() || (!pending.requested() && pending.server_shards().empty())) return;
  AddEvent("CHECKPOINT_ABANDONED", absl::StrCat("step ", pending.step(), ": ", why));
}

// ------------------------------------------------------------------------------------------------ reports

void JobMachine::OnCheckpointReport(const NodeRef& from, uint64_t generation, const v1::CheckpointReport& report) {
  if (report.number() == kTaskNumber) return OnCheckpointTask(report);
  if (Find(from) == nullptr || job().state() != v1::JOB_STATE_RUNNING) return;
  if (report.number() == kSelectNumber) {
    if (generation == job().generation()) OnCheckpointSelected(report);  // Else an earlier life of the job asked.
    return;
  }
  if (!record_.has_pending_checkpoint() || report.number() != record_.pending_checkpoint().number()) return;
  switch (report.report_case()) {
    case v1::CheckpointReport::kMissed:
      return OnCheckpointMissed(report.missed().version());
    case v1::CheckpointReport::kFailed:
      return FailCheckpoint(absl::StrCat(Describe(from), ": ", report.failed().message()));
    case v1::CheckpointReport::kShard:
      return OnCheckpointShard(from, report.shard());
    case v1::CheckpointReport::kCommitted:
      return OnCheckpointCommitted(report.committed());
    default:
      return;
  }
}

void JobMachine::OnCheckpointTask(const v1::CheckpointReport& report) {
  v1::Checkpoint* checkpoint = FindCheckpoint(report.step());
  if (checkpoint == nullptr) return;
  const std::string which = absl::StrCat("step ", report.step(), ": ");
  const bool verifying = checkpoint->state() == v1::CHECKPOINT_STATE_VERIFYING;
  if (!verifying && checkpoint->state() != v1::CHECKPOINT_STATE_DELETING) return;
  effects_.changed = true;
  if (report.has_deleted() && !verifying) {
    auto& list = *record_.mutable_checkpoints();
    list.erase(std::find_if(list.begin(), list.end(), [&](const auto& c) { return c.step() == report.step(); }));
    return AddEvent("CHECKPOINT_DELETED", absl::StrCat(which, "deleted"));
  }
  if (report.has_verified() && verifying) {
    checkpoint->set_state(v1::CHECKPOINT_STATE_COMMITTED);
    checkpoint->clear_message();
    *checkpoint->mutable_verify_time() = ToTimestamp(now_);
    return AddEvent("CHECKPOINT_VERIFIED", absl::StrCat(which, report.verified().bytes(), " bytes read, all good"));
  }
  if (!report.has_failed()) return;
  const absl::Status error = FromRpcStatus(report.failed());
  const bool damaged = verifying && ErrorReason(error) == "CHECKPOINT_INVALID";
  checkpoint->set_state(damaged ? v1::CHECKPOINT_STATE_CORRUPT : v1::CHECKPOINT_STATE_COMMITTED);
  checkpoint->set_message(report.failed().message());
  AddEvent(damaged     ? "CHECKPOINT_CORRUPT"
           : verifying ? "CHECKPOINT_NOT_VERIFIED"
                       : "CHECKPOINT_NOT_DELETED",
           absl::StrCat(which, report.failed().message()), true);
}

void JobMachine::OnCheckpointSelected(const v1::CheckpointReport& report) {
  if (job().phase() != v1::JOB_PHASE_PREPARING_SERVERS || !needs_selection()) return;
  if (report.has_failed()) {
    const absl::Status error = FromRpcStatus(report.failed());
    if (ErrorReason(error) == "CHECKPOINT_NOT_FOUND" && BeginAnew()) return;
    return Fail(MakeError(error.code(), ErrorReason(error), absl::StrCat("cannot restore: ", error.message()),
                          GetErrorMetadata(error)));
  }
  if (!report.has_selected()) return;
  constexpr int kNamed = 8;  // One transition must not write more events than the store takes at once.
  const auto& skipped = report.selected().skipped();
  for (int i = 0; i < std::min(skipped.size(), kNamed); ++i) AddEvent("CHECKPOINT_SKIPPED", skipped[i], true);
  if (skipped.size() > kNamed) {
    AddEvent("CHECKPOINT_SKIPPED", absl::StrCat("and ", skipped.size() - kNamed, " more"), true);
  }
  coordinator::Restore& restore = *record_.mutable_restore();
  restore.set_selected(true);
  restore.set_directory(report.selected().directory());
  restore.set_first_step(report.step());
  record_.set_next_checkpoint_step(0);
  if (report.step() > job().spec().training().steps()) {
    return Fail(MakeError(absl::StatusCode::kFailedPrecondition, "CHECKPOINT_MISMATCH",
                          absl::StrCat(report.selected().directory(), " is of step ", report.step(),
                                       ", the job has only ", job().spec().training().steps())));
  }
  for (v1::Checkpoint& checkpoint : *record_.mutable_checkpoints()) {
    if (restore.step() != 0 || checkpoint.step() <= report.step()) continue;
    if (checkpoint.directory() == report.selected().directory()) continue;
    checkpoint.set_state(v1::CHECKPOINT_STATE_CORRUPT);
    checkpoint.set_message("skipped when the job was resumed");
  }
  Rewind(report.step());
  EnterPhase(v1::JOB_PHASE_PREPARING_SERVERS, options_.preparing_timeout);
  SetReason("PREPARING_SERVERS",
            absl::StrCat("waits for ", record_.servers_size(), " servers to read the weights of step ", report.step()));
  AddEvent("RESTORING", absl::StrCat("from ", report.selected().directory(), ", step ", report.step(), ", ",
                                     report.selected().bytes(), " bytes, all good"));
  if (LosesResiduals(job().spec())) {
    AddEvent("RESIDUALS_RESET", "what the codecs have lost so far is not in a checkpoint: it begins at zero again",
             true);
  }
  SendPhaseCommandsToAll();
}

// ------------------------------------------------------------------------------------------------ users

v1::Checkpoint* JobMachine::FindCheckpoint(uint64_t step) {
  for (v1::Checkpoint& checkpoint : *record_.mutable_checkpoints()) {
    if (checkpoint.step() == step) return &checkpoint;
  }
  return nullptr;
}

absl::StatusOr<v1::Checkpoint*> JobMachine::FindIdleCheckpoint(uint64_t step) {
  const int count = record_.checkpoints_size();
  v1::Checkpoint* checkpoint = step != 0    ? FindCheckpoint(step)
                               : count == 0 ? nullptr
                                            : record_.mutable_checkpoints(count - 1);
  if (checkpoint != nullptr) return checkpoint;
  return NoCheckpoint(step);
}

absl::Status JobMachine::NoCheckpoint(uint64_t step) const {
  const std::string& job_id = record_.job().job_id();
  return MakeError(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND",
                   absl::StrCat("job ", job_id, " has no checkpoint", step == 0 ? "" : absl::StrCat(" of step ", step)),
                   {{"jobId", job_id}});
}

absl::StatusOr<v1::Checkpoint> JobMachine::OnVerifyCheckpoint(uint64_t step, const NodeRef& server) {
  absl::StatusOr<v1::Checkpoint*> found = FindIdleCheckpoint(step);
  if (!found.ok()) return found.status();
  v1::Checkpoint& checkpoint = **found;
  if (checkpoint.state() == v1::CHECKPOINT_STATE_DELETING) {
    return Refused("CHECKPOINT_BUSY", absl::StrCat("is deleting the checkpoint of step ", checkpoint.step()));
  }
  // Asked again it is sent again: the server that does it may be gone.
  checkpoint.set_state(v1::CHECKPOINT_STATE_VERIFYING);
  effects_.changed = true;
  v1::CoordinatorMessage message = CheckpointMessage(kTaskNumber, checkpoint.step());
  message.mutable_checkpoint()->set_directory(checkpoint.directory());
  message.mutable_checkpoint()->mutable_verify();
  Send(server, std::move(message));
  return checkpoint;
}

absl::StatusOr<v1::Checkpoint> JobMachine::OnDeleteCheckpoint(uint64_t step, bool force, const NodeRef& server) {
  absl::StatusOr<v1::Checkpoint*> found = FindIdleCheckpoint(step);
  if (!found.ok()) return found.status();
  v1::Checkpoint& checkpoint = **found;
  if (step == 0) return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_STEP", "step: required");
  const bool in_use = job().state() == v1::JOB_STATE_RUNNING && job().phase() < v1::JOB_PHASE_TRAINING &&
                      record_.restore().first_step() == step;
  if (checkpoint.state() == v1::CHECKPOINT_STATE_VERIFYING || in_use) {
    return Refused("CHECKPOINT_BUSY", absl::StrCat("is reading the checkpoint of step ", step));
  }
  const auto good = std::count_if(record_.checkpoints().begin(), record_.checkpoints().end(), IsGood);
  if (!force && good == 1 && checkpoint.state() == v1::CHECKPOINT_STATE_COMMITTED) {
    return Refused("ONLY_CHECKPOINT", "has no other good checkpoint; delete it with --force");
  }
  checkpoint.set_state(v1::CHECKPOINT_STATE_DELETING);
  effects_.changed = true;
  v1::CoordinatorMessage message = CheckpointMessage(kTaskNumber, step);
  message.mutable_checkpoint()->set_directory(checkpoint.directory());
  message.mutable_checkpoint()->mutable_remove();
  Send(server, std::move(message));
  return checkpoint;
}

bool JobMachine::IsGood(const v1::Checkpoint& checkpoint) {
  return checkpoint.state() != v1::CHECKPOINT_STATE_CORRUPT && checkpoint.state() != v1::CHECKPOINT_STATE_DELETING;
}

bool JobMachine::CheckpointBusy(const JobRecord& record) {
  return std::any_of(record.checkpoints().begin(), record.checkpoints().end(), [](const v1::Checkpoint& c) {
    return c.state() == v1::CHECKPOINT_STATE_VERIFYING || c.state() == v1::CHECKPOINT_STATE_DELETING;
  });
}

std::vector<v1::Checkpoint> JobMachine::Checkpoints(const JobRecord& record) {
  std::vector<v1::Checkpoint> all(record.checkpoints().begin(), record.checkpoints().end());
  if (record.has_failed_checkpoint()) all.push_back(record.failed_checkpoint());
  if (record.has_pending_checkpoint()) all.push_back(PendingView(record));
  return all;
}

}  // namespace paramd
