// One job's life as a state machine over its JobRecord: events go in, a changed record and effects come out.
//
//   JobMachine machine(record, options, clock.Now());
//   machine.OnReport({v1::NODE_ROLE_WORKER, "worker-1", incarnation}, report);
//   JobEffects effects = machine.TakeEffects();   // store record + effects.events, then send effects.commands
//
//   PENDING/QUEUED -> RUNNING/PREPARING_SERVERS -> PREPARING_WORKERS -> TRAINING -> SAVING -> RELEASING -> SUCCEEDED
//   TRAINING -> STOPPING -> SAVING -> RELEASING -> CANCELLED       (cancel with save)
//   any RUNNING phase -> RELEASING -> FAILED | CANCELLED           (failure, lost node, timeout; cancel)
//   PENDING -> FAILED | CANCELLED
//   TRAINING -> STOPPING -> SAVING (a checkpoint) -> RELEASING -> PAUSED
//   PAUSED | FAILED | CANCELLED -> PENDING/QUEUED                  (resume, from a checkpoint)
//   any RUNNING phase -> RELEASING -> PENDING/QUEUED               (a server is lost; job_machine_recovery.cc)
//
// A worker that is lost while the job prepares or trains does not end it: the others go on, in another generation
// (job_machine_membership.cc). Free workers join a job that trains with fewer than it wants (job_machine_joining.cc).
//
// Checkpoints (job_machine_checkpoints.cc) are taken beside the phases: one at a time, at a step that is chosen ahead.
//
// Every phase that waits for daemons has a deadline; when it passes the job fails and names whom it waited for
// (RELEASING: the nodes are skipped). Everything is idempotent: repeated reports, cancels and reconnections change
// nothing. A pure core: no I/O, no threads, no clock; not thread safe. Progress numbers are job_progress.h's.
#ifndef PARAMD_SERVER_COORDINATOR_JOB_MACHINE_H_
#define PARAMD_SERVER_COORDINATOR_JOB_MACHINE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/partition/chunk_map.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"
#include "server/coordinator/job_record.pb.h"

namespace paramd {

struct JobMachineOptions {
  absl::Duration preparing_timeout = absl::Seconds(120);  // Servers and workers, each.
  absl::Duration stopping_timeout = absl::Seconds(60);    // To agree on the last step, and again to reach it.
  absl::Duration saving_timeout = absl::Seconds(120);
  absl::Duration releasing_timeout = absl::Seconds(10);
  // To write a checkpoint once its step is reached; and to read one in full, to find out whether it is good.
  absl::Duration checkpoint_timeout = absl::Minutes(10);
  absl::Duration workers_timeout = absl::Minutes(10);  // How long a job whose workers are all gone waits for one.
  uint32_t max_recoveries = 5;                         // From lost servers, without getting any further.
};

struct NodeRef {
  v1::NodeRole role = v1::NODE_ROLE_UNSPECIFIED;
  std::string node_id;
  uint64_t incarnation = 0;
  bool operator==(const NodeRef&) const = default;
};

struct JobCommand {
  NodeRef to;
  v1::CoordinatorMessage message;
};

struct JobEffects {
  bool changed = false;              // The record must be stored, with the events, before the commands are sent.
  std::vector<v1::JobEvent> events;  // Numbered; the last one's sequence is job.last_event_sequence.
  std::vector<JobCommand> commands;  // Idempotent for the receiver.
};

// "worker w1", for messages.
std::string Describe(const NodeRef& node);
// "FAILED" of JOB_STATE_FAILED.
std::string StateName(v1::JobState state);

// Whether the state is SUCCEEDED, FAILED or CANCELLED.
bool IsTerminal(v1::JobState state);
// Whether nodes are at work on the job: from preparing to saving.
bool IsActivePhase(v1::JobPhase phase);

class JobMachine {
 public:
  // `record` must outlive the machine; the methods change it.
  JobMachine(coordinator::JobRecord& record, const JobMachineOptions& options, absl::Time now);

  // A record fresh from Submit: QUEUED, event SUBMITTED.
  void OnSubmitted();
  // PENDING: why it still waits. An event when the reason is a new one.
  void OnWaiting(const std::string& reason, const std::string& message);
  // PENDING: it can never run.
  void OnUnschedulable(const absl::Status& error);
  // PENDING: goes to these nodes.
  void OnPlaced(const v1::Placement& placement);
  // A participant's report other than progress. Those of another generation or of strangers are ignored.
  void OnReport(const NodeRef& from, const v1::JobReport& report);
  // A participant's lease ended, it left, or it came back without the job; `what` says which, for people.
  void OnNodeLost(const NodeRef& node, const std::string& what);
  // Whether the job counts on the node, as a participant that is not lost or one that is about to join.
  bool Involves(const NodeRef& node);
  // A participant has a session again: sends the commands of the phase once more, or takes the daemon for lost when it
  // no longer holds (`held`) what the phase needs.
  void OnReconnected(const NodeRef& node, bool held);
  // kFailedPrecondition JOB_ALREADY_FINISHED when the job is over, or about to end another way.
  absl::Status OnCancel(bool save);
  // Deadlines.
  void OnTick();

  // -- checkpoints; kFailedPrecondition and kNotFound with the reasons of proto/README.md --
  // Pauses at a step that all workers reach.
  absl::Status OnPause();
  // PAUSED, FAILED, CANCELLED: back into the queue, to go on from the checkpoint of `step`; 0: from the newest good
  // one.
  absl::Status OnResume(uint64_t step);
  // Before OnSubmitted: the job starts from a checkpoint in this directory.
  void RestoreFrom(const std::string& directory);
  absl::StatusOr<v1::Checkpoint> OnCreateCheckpoint();
  // `server` does it; any server that sees the output directory. Step 0: the newest.
  absl::StatusOr<v1::Checkpoint> OnVerifyCheckpoint(uint64_t step, const NodeRef& server);
  absl::StatusOr<v1::Checkpoint> OnDeleteCheckpoint(uint64_t step, bool force, const NodeRef& server);
  // Whether OnCheckpointTick has something to do.
  static bool CheckpointDue(const coordinator::JobRecord& record, absl::Time now);
  void OnCheckpointTick();
  // Whether it can be counted on, as far as is known.
  static bool IsGood(const v1::Checkpoint& checkpoint);
  // Whether a server still reads or deletes one.
  static bool CheckpointBusy(const coordinator::JobRecord& record);
  // Oldest first; the one that is being taken, or the last one that failed, at the end.
  static std::vector<v1::Checkpoint> Checkpoints(const coordinator::JobRecord& record);

  // -- workers that come and go --
  // How many the job is to have.
  static uint32_t WorkersWanted(const v1::Job& job);
  // How many it must have to begin, when so many are free: one that recovers goes on with those there are.
  static uint32_t WorkersToBegin(const coordinator::JobRecord& record, uint32_t free);
  // How many free workers could join now.
  static uint32_t WorkersMissing(const coordinator::JobRecord& record, absl::Time now);
  // A free worker: it prepares itself to join.
  void OnWorkerOffered(const NodeRef& node);
  // kInvalidArgument INVALID_WORKERS; kFailedPrecondition JOB_ALREADY_FINISHED.
  absl::Status OnScale(uint32_t workers);
  // Slots per second of the placement's workers; 0: not known. Deals the slots anew when that is worth it.
  void OnSpeeds(absl::Span<const double> slots_per_second);
  // Whether OnMembershipTick has something to do.
  static bool MembershipDue(const coordinator::JobRecord& record, absl::Time now);
  void OnMembershipTick();

  // After a restart of the coordinator: waits begin anew, since nobody could answer meanwhile.
  void OnCoordinatorRestart();

  JobEffects TakeEffects() { return std::move(effects_); }

 private:
  v1::Job& job() { return *record_.mutable_job(); }
  coordinator::Participant* Find(const NodeRef& node);
  NodeRef Server(int index) const;
  NodeRef Worker(int index) const;
  void EnterPhase(v1::JobPhase phase, absl::Duration timeout);
  void AddEvent(absl::string_view reason, const std::string& message, bool warning = false);
  void SetReason(absl::string_view reason, const std::string& message);
  void Send(const NodeRef& to, v1::CoordinatorMessage message);
  // The commands of the present phase that this participant has not answered yet.
  void SendPhaseCommands(const NodeRef& node, const coordinator::Participant& participant);
  void SendPhaseCommandsToAll();
  v1::CoordinatorMessage PrepareMessage(const NodeRef& node);

  void OnPrepared(const NodeRef& from, coordinator::Participant& participant);
  void OnEvaluation(const NodeRef& from, const v1::Evaluation& evaluation);
  void CompleteEvaluation(const coordinator::PendingEvaluation& evaluation);
  // All workers are to stop after a common step.
  void BeginStopping();
  void OnStopPoint(coordinator::Participant& participant, uint64_t step);
  void OnFinished(const NodeRef& from, coordinator::Participant& participant, const v1::WorkerFinished& finished);
  void OnSaved(const NodeRef& from, const v1::WeightsSaved& saved);
  void OnFailed(const NodeRef& from, const google::rpc::Status& status);
  void OnReleased(coordinator::Participant& participant);
  void OnLostWhileReleasing(const NodeRef& node, const std::string& message);

  void MaybeAllPrepared();
  void MaybeStopAgreed();
  void MaybeAllFinished();
  void MaybeAllReleased();
  // Decides how the job ends and lets go of the nodes.
  void Release(coordinator::Outcome outcome);
  void Fail(const absl::Status& error, bool peer_unreachable = false);
  void Finish();
  std::vector<std::string> WaitingFor() const;

  // job_machine_checkpoints.cc
  bool pausing() const;  // Trained up to the common step, which is being saved as a checkpoint.
  bool needs_selection() const { return record_.has_restore() && !record_.restore().selected(); }
  v1::CoordinatorMessage CheckpointMessage(uint64_t number, uint64_t step) const;
  void SendSelect();
  // What the node has not answered yet of the checkpoint that is being taken.
  void SendCheckpointCommands(const NodeRef& node);
  void SendCheckpointCommandsToAll();
  // `delay`: until the servers are told.
  void TakeCheckpoint(uint64_t step, bool requested, uint32_t attempts, absl::Duration delay = absl::ZeroDuration());
  void FailCheckpoint(const std::string& message);
  void AbandonCheckpoint(const std::string& why);
  uint64_t NextPeriodicCheckpoint(uint64_t after) const;
  v1::Checkpoint* FindCheckpoint(uint64_t step);
  absl::StatusOr<v1::Checkpoint*> FindIdleCheckpoint(uint64_t step);
  absl::Status NoCheckpoint(uint64_t step) const;
  void OnCheckpointReport(const NodeRef& from, uint64_t generation, const v1::CheckpointReport& report);
  void OnCheckpointTask(const v1::CheckpointReport& report);
  void OnCheckpointSelected(const v1::CheckpointReport& report);
  void OnCheckpointMissed(uint64_t version);
  void OnCheckpointShard(const NodeRef& from, const v1::CheckpointShard& shard);
  void OnCheckpointCommitted(const v1::CheckpointCommitted& committed);

  // job_machine_pause.cc
  absl::Status Refused(absl::string_view reason, const std::string& message) const;
  void TakePauseCheckpoint(uint64_t step);
  void FinishPause();

  // job_machine_recovery.cc
  bool recovering() const;  // RELEASING, to go back into the queue.
  void RecoverOrFail(const absl::Status& error, bool peer_unreachable);
  void FinishRecovery();
  // PENDING, with nothing of the last placement left.
  void Requeue();
  // A job that recovers and turns out to have no checkpoint of its own starts as it once did. False when that is not
  // what it is.
  bool BeginAnew();
  // What the job is known to have reached is this step, once more.
  void Rewind(uint64_t step);

  // job_machine_membership.cc
  // The job has just been placed, or prepares itself once more: its placement holds from the first step on.
  void BeginDealings();
  // A worker that has not finished is lost while the job trains.
  void OnWorkerGone(const NodeRef& node, const std::string& message);
  // The next generation: of the workers that are not lost, and those that are prepared to join. Slots as in `ranges`,
  // in equal parts when it is not for as many workers.
  void StartChange(absl::Span<const SlotRange> ranges);
  void Disown(const NodeRef& node);
  void WaitForWorkers();
  // While the job prepares: once more, without those that are lost.
  void RestartPreparation(const std::string& message);
  v1::CoordinatorMessage ChangeMessage() const;
  void SendChangeToServer(const NodeRef& node);
  void SendChangeToWorker(const NodeRef& node);
  void OnGenerationAdopted(const NodeRef& from, const v1::GenerationAdopted& adopted);
  uint64_t OpenStep(std::vector<bool>& missing) const;
  void CompleteChange();
  void ReportChange(const coordinator::Dealing& before, uint64_t step, size_t taken_over);
  // Whether a report of an older generation still counts.
  bool Outdated(const NodeRef& from, const v1::JobReport& report) const;

  // job_machine_joining.cc
  void SendJoin(const NodeRef& node);
  void SendRelease(const NodeRef& node, const std::string& reason);
  coordinator::Joiner* FindJoiner(const NodeRef& node);
  void DropJoiner(const NodeRef& node, const std::string& why);
  void ReleaseJoiners();
  bool OnJoinerReport(const NodeRef& from, const v1::JobReport& report);
  uint32_t WorkersHere() const;

  coordinator::JobRecord& record_;
  const JobMachineOptions& options_;
  const absl::Time now_;
  JobEffects effects_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_JOB_MACHINE_H_
