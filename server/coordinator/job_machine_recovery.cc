// A server is lost, and its part of the weights with it, or the last worker of a job that prepares itself: the job goes
// back into the queue and on from its newest good checkpoint, or from the beginning. In sync mode it computes the same
// weights once more, bit for bit.
//
// How often is bounded: attempts that get a job no further, neither beyond the step it had reached nor to another
// checkpoint, end in FAILED, with the last loss as the reason.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/job_outcome.h"

namespace paramd {
namespace {

using coordinator::JobRecord;

uint64_t NewestCheckpointStep(const JobRecord& record) {
  uint64_t newest = 0;
  for (const v1::Checkpoint& checkpoint : record.checkpoints()) {
    if (JobMachine::IsGood(checkpoint)) newest = std::max<uint64_t>(newest, checkpoint.step());
  }
  return newest;
}

}  // namespace

uint32_t JobMachine::WorkersToBegin(const JobRecord& record, uint32_t free) {
  const uint32_t wanted = WorkersWanted(record.job());
  return record.recovery().attempts() == 0 ? wanted : std::clamp<uint32_t>(free, 1, wanted);
}

bool JobMachine::recovering() const { return record_.outcome().state() == v1::JOB_STATE_PENDING; }

void JobMachine::RecoverOrFail(const absl::Status& error, bool peer_unreachable) {
  // Who wants it to end gets an answer at once; a job that was to be paused can be resumed from FAILED as well.
  if (record_.cancel_requested() || record_.pause_requested()) return Fail(error, peer_unreachable);
  coordinator::Recovery& recovery = *record_.mutable_recovery();
  const uint64_t step = job().progress().step(), checkpoint_step = NewestCheckpointStep(record_);
  if (step > recovery.step() || checkpoint_step > recovery.checkpoint_step()) recovery.set_attempts(0);
  recovery.set_step(std::max<uint64_t>(recovery.step(), step));
  recovery.set_checkpoint_step(std::max<uint64_t>(recovery.checkpoint_step(), checkpoint_step));
  if (recovery.attempts() >= options_.max_recoveries) return Fail(error, peer_unreachable);
  recovery.set_attempts(recovery.attempts() + 1);
  coordinator::Outcome outcome = FailedOutcome(error);
  outcome.set_state(v1::JOB_STATE_PENDING);
  outcome.set_peer_unreachable(peer_unreachable);
  AddEvent(outcome.reason(), outcome.message(), true);
  Release(std::move(outcome));
}

void JobMachine::FinishRecovery() {
  coordinator::Restore restore;
  if (record_.restore().step() > 0) {  // Somebody has chosen it, and nothing newer has come of that.
    restore.set_from(record_.restore().from());
    restore.set_step(record_.restore().step());
  } else if (record_.last_checkpoint_number() > 0) {
    // One may be on the disk that nobody could tell of any more.
    restore.set_from(record_.checkpoint_directory());
  } else {
    restore.set_from(record_.restore_from());
  }
  Requeue();
  if (restore.from().empty()) {
    Rewind(0);
    record_.clear_next_checkpoint_step();
  } else {
    *record_.mutable_restore() = restore;
  }
  const std::string from = restore.from().empty() ? "the initial weights"
                           : restore.step() > 0   ? absl::StrCat("the checkpoint of step ", restore.step())
                                                  : absl::StrCat("the newest good checkpoint in ", restore.from());
  SetReason("RECOVERING", absl::StrCat("to go on from ", from));
  AddEvent("RECOVERING", absl::StrCat("goes on from ", from, "; attempt ", record_.recovery().attempts(), " of ",
                                      options_.max_recoveries, " to get beyond step ", record_.recovery().step()));
}

bool JobMachine::BeginAnew() {
  if (record_.recovery().attempts() == 0 || record_.restore().step() != 0) return false;
  if (record_.restore().from() == record_.restore_from()) return false;
  if (NewestCheckpointStep(record_) > 0) return false;  // There is one, but not here: that is for people to see.
  record_.clear_restore();
  record_.clear_next_checkpoint_step();
  Rewind(0);
  if (!record_.restore_from().empty()) record_.mutable_restore()->set_from(record_.restore_from());
  AddEvent("RECOVERING", absl::StrCat("there is no checkpoint yet: from ",
                                      record_.restore_from().empty() ? "the initial weights" : record_.restore_from()));
  EnterPhase(v1::JOB_PHASE_PREPARING_SERVERS,
             needs_selection() ? options_.checkpoint_timeout : options_.preparing_timeout);
  SetReason("PREPARING_SERVERS", "waits for the servers to begin anew");
  SendPhaseCommandsToAll();
  return true;
}

void JobMachine::Requeue() {
  record_.clear_servers();
  record_.clear_workers();
  record_.clear_outcome();
  record_.clear_stop_step();
  record_.clear_cancel_requested();
  record_.clear_save_on_cancel();
  record_.clear_pause_requested();
  record_.clear_restore();
  job().clear_error();
  job().clear_end_time();
  job().set_state(v1::JOB_STATE_PENDING);
  EnterPhase(v1::JOB_PHASE_QUEUED, absl::InfiniteDuration());
}

void JobMachine::Rewind(uint64_t step) {
  v1::JobProgress& progress = *job().mutable_progress();
  const double part = progress.step() > step ? static_cast<double>(step) / static_cast<double>(progress.step()) : 1;
  progress.set_samples(static_cast<uint64_t>(static_cast<double>(progress.samples()) * part));
  progress.set_tokens(static_cast<uint64_t>(static_cast<double>(progress.tokens()) * part));
  record_.set_base_samples(progress.samples());
  record_.set_base_tokens(progress.tokens());
  progress.set_step(step);
  if (progress.validation_step() <= step) return;
  progress.clear_validation_loss();
  progress.clear_validation_accuracy();
  progress.clear_validation_step();
}

}  // namespace paramd
