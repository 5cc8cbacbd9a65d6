// A job stops with a checkpoint and goes on from one.
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/job_outcome.h"
#include "server/coordinator/proto_time.h"

namespace paramd {

absl::Status JobMachine::Refused(absl::string_view reason, const std::string& message) const {
  const std::string& job_id = record_.job().job_id();
  return MakeError(absl::StatusCode::kFailedPrecondition, reason, absl::StrCat("job ", job_id, " ", message),
                   {{"jobId", job_id}});
}

void JobMachine::RestoreFrom(const std::string& directory) {
  record_.set_restore_from(directory);
  record_.mutable_restore()->set_from(directory);
  effects_.changed = true;
}

absl::Status JobMachine::OnPause() {
  if (job().state() == v1::JOB_STATE_PAUSED || (record_.pause_requested() && IsActivePhase(job().phase()))) {
    return absl::OkStatus();
  }
  if (job().phase() != v1::JOB_PHASE_TRAINING) {
    return Refused("JOB_NOT_TRAINING", "is not in training: it cannot be paused");
  }
  if (WorkersHere() == 0) return Refused("JOB_NOT_TRAINING", "waits for workers: there is no step they could stop at");
  record_.set_pause_requested(true);
  AddEvent("PAUSE_REQUESTED", "pause, with a checkpoint at a step that all workers reach");
  AbandonCheckpoint("the job is paused, with a checkpoint of its own");
  BeginStopping();
  return absl::OkStatus();
}

void JobMachine::TakePauseCheckpoint(uint64_t step) {
  EnterPhase(v1::JOB_PHASE_SAVING, options_.checkpoint_timeout);
  SetReason("CHECKPOINTING", absl::StrCat("waits for the servers to write a checkpoint of step ", step));
  AddEvent("TRAINING_STOPPED", absl::StrCat("all workers have stopped after ", step, " steps"));
  const v1::Checkpoint* existing = FindCheckpoint(step);
  const bool of_this_life =
      existing != nullptr && FromTimestamp(existing->create_time()) >= FromTimestamp(job().start_time());
  if (of_this_life && existing->state() == v1::CHECKPOINT_STATE_COMMITTED) {
    return Release(MakeOutcome(v1::JOB_STATE_PAUSED, "PAUSED",
                               absl::StrCat("paused at step ", step, "; paramctl resume ", job().job_id())));
  }
  TakeCheckpoint(step, true, 0);
}

void JobMachine::FinishPause() {
  EnterPhase(v1::JOB_PHASE_DONE, absl::InfiniteDuration());
  SetReason(record_.outcome().reason(), record_.outcome().message());
  AddEvent("PAUSED", record_.outcome().message());
  record_.clear_servers();
  record_.clear_workers();
  record_.clear_outcome();
  record_.clear_stop_step();
  record_.set_pause_requested(false);
}

absl::Status JobMachine::OnResume(uint64_t step) {
  const v1::JobState state = job().state();
  if (state != v1::JOB_STATE_PAUSED && state != v1::JOB_STATE_FAILED && state != v1::JOB_STATE_CANCELLED) {
    return Refused("JOB_NOT_RESUMABLE",
                   absl::StrCat("is ", StateName(state), "; only PAUSED, FAILED and CANCELLED jobs can be resumed"));
  }
  const v1::Checkpoint* chosen = step == 0 ? nullptr : FindCheckpoint(step);
  if (record_.checkpoints().empty() || (step != 0 && chosen == nullptr)) {
    return NoCheckpoint(step);
  }
  if (CheckpointBusy(record_)) return Refused("CHECKPOINT_BUSY", "has a checkpoint that is read or deleted");
  const std::string from = chosen != nullptr ? chosen->directory() : record_.checkpoint_directory();
  Requeue();
  record_.mutable_restore()->set_step(step);
  record_.mutable_restore()->set_from(from);
  record_.clear_recovery();  // Somebody has had a look at it.
  SetReason("QUEUED", "waits to be scheduled");
  AddEvent("RESUMED", step == 0 ? std::string("to go on from the newest good checkpoint")
                                : absl::StrCat("to go on from the checkpoint of step ", step));
  return absl::OkStatus();
}

}  // namespace paramd
