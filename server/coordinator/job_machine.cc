#include "server/coordinator/job_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "server/coordinator/job_outcome.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::Outcome;
using coordinator::Participant;

std::string PlacementMessage(const v1::Placement& placement) {
  const auto server_name = [](std::string* out, const v1::ServerPlacement& s) { absl::StrAppend(out, s.node_id()); };
  const auto worker_name = [](std::string* out, const v1::WorkerPlacement& w) {
    absl::StrAppend(out, w.node_id(), " (slots ", w.first_slot(), "..", w.first_slot() + w.slot_count() - 1, ")");
  };
  return absl::StrCat(placement.chunk_server_size(), " chunks on ",
                      absl::StrJoin(placement.servers(), ", ", server_name), "; ",
                      absl::StrJoin(placement.workers(), ", ", worker_name));
}

std::string CancelledMessage(const v1::Job& job, bool trained) {
  return trained || job.progress().step() > 0
             ? absl::StrCat("cancelled at step ", job.progress().step(), "; weights not saved")
             : "cancelled before training started; there are no weights to save";
}

}  // namespace

std::string Describe(const NodeRef& node) {
  return absl::StrCat(node.role == v1::NODE_ROLE_SERVER ? "server" : "worker", " ", node.node_id);
}

std::string StateName(v1::JobState state) { return v1::JobState_Name(state).substr(sizeof("JOB_STATE_") - 1); }

bool IsActivePhase(v1::JobPhase phase) {
  return phase >= v1::JOB_PHASE_PREPARING_SERVERS && phase <= v1::JOB_PHASE_SAVING;
}

bool IsTerminal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

JobMachine::JobMachine(coordinator::JobRecord& record, const JobMachineOptions& options, absl::Time now)
    : record_(record), options_(options), now_(now) {}

// ------------------------------------------------------------------------------------------------ small steps

NodeRef JobMachine::Server(int index) const {
  const v1::ServerPlacement& server = record_.job().placement().servers(index);
  return {v1::NODE_ROLE_SERVER, server.node_id(), server.incarnation()};
}

NodeRef JobMachine::Worker(int index) const {
  const v1::WorkerPlacement& worker = record_.job().placement().workers(index);
  return {v1::NODE_ROLE_WORKER, worker.node_id(), worker.incarnation()};
}

Participant* JobMachine::Find(const NodeRef& node) {
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (Server(i) == node) return record_.mutable_servers(i);
  }
  for (int i = 0; i < record_.workers_size(); ++i) {
    if (Worker(i) == node) return record_.mutable_workers(i);
  }
  return nullptr;
}

void JobMachine::EnterPhase(v1::JobPhase phase, absl::Duration timeout) {
  effects_.changed = true;
  job().set_phase(phase);
  if (timeout == absl::InfiniteDuration()) {
    record_.clear_phase_deadline();
  } else {
    *record_.mutable_phase_deadline() = ToTimestamp(now_ + timeout);
  }
}

void JobMachine::SetReason(absl::string_view reason, const std::string& message) {
  effects_.changed = true;
  job().set_reason(std::string(reason));
  job().set_message(message);
}

void JobMachine::AddEvent(absl::string_view reason, const std::string& message, bool warning) {
  effects_.changed = true;
  job().set_last_event_sequence(job().last_event_sequence() + 1);
  v1::JobEvent event;
  event.set_job_id(job().job_id());
  event.set_sequence(job().last_event_sequence());
  *event.mutable_time() = ToTimestamp(now_);
  event.set_reason(std::string(reason));
  event.set_message(message);
  event.set_state(job().state());
  event.set_warning(warning);
  effects_.events.push_back(std::move(event));
}

void JobMachine::Send(const NodeRef& to, v1::CoordinatorMessage message) {
  effects_.commands.push_back({to, std::move(message)});
}

v1::CoordinatorMessage JobMachine::PrepareMessage(const NodeRef& node) {
  v1::CoordinatorMessage message;
  v1::JobAssignment* assignment = node.role == v1::NODE_ROLE_SERVER
                                      ? message.mutable_prepare_server()->mutable_assignment()
                                      : message.mutable_prepare_worker()->mutable_assignment();
  assignment->set_job_id(job().job_id());
  assignment->set_generation(job().generation());
  *assignment->mutable_spec() = job().spec();
  *assignment->mutable_placement() = job().placement();
  assignment->set_first_step(record_.restore().first_step());
  assignment->set_restore_directory(record_.restore().directory());
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (Server(i) == node) message.mutable_prepare_server()->set_server_index(i);
  }
  for (int i = 0; i < record_.workers_size(); ++i) {
    if (Worker(i) == node) message.mutable_prepare_worker()->set_worker_index(i);
  }
  return message;
}

void JobMachine::SendPhaseCommands(const NodeRef& node, const Participant& participant) {
  const bool server = node.role == v1::NODE_ROLE_SERVER;
  const auto addressed = [this](auto* command) {
    command->set_job_id(job().job_id());
    command->set_generation(job().generation());
    return command;
  };
  v1::CoordinatorMessage message;
  switch (job().phase()) {
    case v1::JOB_PHASE_PREPARING_SERVERS:
      if (needs_selection()) {
        if (node == Server(0)) SendSelect();
      } else if (server && !participant.prepared()) {
        Send(node, PrepareMessage(node));
      }
      return;
    case v1::JOB_PHASE_PREPARING_WORKERS:
      if (!server && !participant.prepared()) Send(node, PrepareMessage(node));
      return;
    case v1::JOB_PHASE_TRAINING:
    case v1::JOB_PHASE_STOPPING:
      if (record_.has_change()) return SendChangeToServer(node);  // The workers are told when all servers know.
      if (server || participant.finished() || participant.lost()) return;
      SendChangeToWorker(node);
      // Before any stop: a worker that was away may not know yet that training has started.
      addressed(message.mutable_start());
      Send(node, message);
      if (job().phase() == v1::JOB_PHASE_TRAINING) return;
      if (record_.has_stop_step()) {
        addressed(message.mutable_stop_at())->set_step(record_.stop_step());
      } else {
        addressed(message.mutable_stop_request());
      }
      Send(node, message);
      return;
    case v1::JOB_PHASE_SAVING:
      if (pausing()) return SendCheckpointCommands(node);
      if (!(node == Server(0))) return;
      addressed(message.mutable_save());
      Send(node, message);
      return;
    case v1::JOB_PHASE_RELEASING:
      if (participant.released()) return;
      addressed(message.mutable_release())
          ->set_reason(absl::StrCat(record_.outcome().reason(), ": ", record_.outcome().message()));
      Send(node, message);
      return;
    default:
      return;
  }
}

void JobMachine::SendPhaseCommandsToAll() {
  for (int i = 0; i < record_.servers_size(); ++i) SendPhaseCommands(Server(i), record_.servers(i));
  for (int i = 0; i < record_.workers_size(); ++i) SendPhaseCommands(Worker(i), record_.workers(i));
}

// ------------------------------------------------------------------------------------------------ before running

void JobMachine::OnSubmitted() {
  job().set_state(v1::JOB_STATE_PENDING);
  *job().mutable_create_time() = ToTimestamp(now_);
  EnterPhase(v1::JOB_PHASE_QUEUED, absl::InfiniteDuration());
  SetReason("QUEUED", "waits to be scheduled");
  AddEvent("SUBMITTED",
           absl::StrCat("accepted: ", job().parameters(), " parameters, ", job().spec().training().steps(), " steps"));
}

void JobMachine::OnWaiting(const std::string& reason, const std::string& message) {
  if (job().state() != v1::JOB_STATE_PENDING) return;
  if (job().reason() == reason && job().message() == message) return;
  const bool new_reason = job().reason() != reason;
  SetReason(reason, message);
  if (new_reason) AddEvent(reason, message);
}

void JobMachine::OnUnschedulable(const absl::Status& error) {
  if (job().state() != v1::JOB_STATE_PENDING) return;
  // It ran once: the servers that it needs may come back.
  if (record_.recovery().attempts() > 0) return OnWaiting("INSUFFICIENT_MEMORY", std::string(error.message()));
  Fail(error);
}

void JobMachine::OnPlaced(const v1::Placement& placement) {
  if (job().state() != v1::JOB_STATE_PENDING) return;
  job().set_state(v1::JOB_STATE_RUNNING);
  job().set_generation(job().generation() + 1);
  *job().mutable_start_time() = ToTimestamp(now_);
  *job().mutable_placement() = placement;
  job().mutable_progress()->set_total_steps(job().spec().training().steps());
  record_.clear_servers();
  record_.clear_workers();
  for (int i = 0; i < placement.servers_size(); ++i) record_.add_servers();
  for (int i = 0; i < placement.workers_size(); ++i) record_.add_workers();
  BeginDealings();
  EnterPhase(v1::JOB_PHASE_PREPARING_SERVERS,
             needs_selection() ? options_.checkpoint_timeout : options_.preparing_timeout);
  SetReason("PREPARING_SERVERS",
            needs_selection()
                ? absl::StrCat("waits for ", Describe(Server(0)), " to read the checkpoint")
                : absl::StrCat("waits for ", placement.servers_size(), " servers to allocate the weights"));
  AddEvent("SCHEDULED", PlacementMessage(placement));
  SendPhaseCommandsToAll();
}

// ------------------------------------------------------------------------------------------------ nodes, users, time

void JobMachine::OnNodeLost(const NodeRef& node, const std::string& what) {
  if (FindJoiner(node) != nullptr) return DropJoiner(node, what);
  Participant* participant = Find(node);
  if (participant == nullptr || participant->lost() || job().state() != v1::JOB_STATE_RUNNING) return;
  participant->set_lost(true);
  participant->set_released(true);
  effects_.changed = true;
  const std::string message = absl::StrCat(Describe(node), " lost: ", what);
  if (job().phase() == v1::JOB_PHASE_RELEASING) return OnLostWhileReleasing(node, message);
  const bool server = node.role == v1::NODE_ROLE_SERVER;
  if (!server && participant->finished()) {
    AddEvent("WORKER_LOST", absl::StrCat(message, "; it had finished its steps"), true);
    return;
  }
  const v1::JobPhase phase = job().phase();
  const bool trains = phase == v1::JOB_PHASE_TRAINING || phase == v1::JOB_PHASE_STOPPING;
  const bool prepares = phase == v1::JOB_PHASE_PREPARING_SERVERS || phase == v1::JOB_PHASE_PREPARING_WORKERS;
  if (!server && trains) return OnWorkerGone(node, message);
  if (!server && prepares && WorkersHere() > 0) return RestartPreparation(message);
  const absl::Status error = MakeError(absl::StatusCode::kUnavailable, server ? "SERVER_LOST" : "WORKER_LOST", message,
                                       {{"node", node.node_id}});
  if (server || prepares) return RecoverOrFail(error, false);
  Fail(error);
}

void JobMachine::OnLostWhileReleasing(const NodeRef& node, const std::string& message) {
  const bool server = node.role == v1::NODE_ROLE_SERVER;
  const std::string reason = server ? "SERVER_LOST" : "WORKER_LOST";
  AddEvent(reason, message, true);
  if (record_.outcome().peer_unreachable()) {
    const v1::JobState state = record_.outcome().state();
    const std::string first = absl::StrCat(message, "; first noticed by ", record_.outcome().message());
    *record_.mutable_outcome() =
        FailedOutcome(MakeError(absl::StatusCode::kUnavailable, reason, first, {{"node", node.node_id}}));
    record_.mutable_outcome()->set_state(state);
    SetReason(reason, first);
  }
  MaybeAllReleased();
}

void JobMachine::OnReconnected(const NodeRef& node, bool held) {
  if (const coordinator::Joiner* joiner = FindJoiner(node); joiner != nullptr) {
    if (!held && joiner->prepared()) return DropJoiner(node, "it came back without the job's state");
    if (!joiner->prepared()) SendJoin(node);
    return;
  }
  Participant* participant = Find(node);
  if (participant == nullptr || participant->lost() || job().state() != v1::JOB_STATE_RUNNING) return;
  if (!held && job().phase() == v1::JOB_PHASE_RELEASING) return OnReleased(*participant);
  if (held || !participant->prepared() || participant->finished()) {
    SendPhaseCommands(node, *participant);
    if (!pausing()) SendCheckpointCommands(node);
    return;
  }
  OnNodeLost(node, "it came back without the job's state");
}

absl::Status JobMachine::OnCancel(bool save) {
  const bool ending = job().phase() == v1::JOB_PHASE_RELEASING;
  if (ending && recovering()) {  // What was lost cannot be saved.
    AddEvent("CANCEL_REQUESTED", "cancel, while the job recovers from a loss");
    *record_.mutable_outcome() = MakeOutcome(v1::JOB_STATE_CANCELLED, "CANCELLED", CancelledMessage(job(), false));
    SetReason(record_.outcome().reason(), record_.outcome().message());
    return absl::OkStatus();
  }
  if (IsTerminal(job().state()) || (ending && record_.outcome().state() != v1::JOB_STATE_CANCELLED)) {
    const v1::JobState state = ending ? record_.outcome().state() : job().state();
    return MakeError(absl::StatusCode::kFailedPrecondition, "JOB_ALREADY_FINISHED",
                     absl::StrCat("job ", job().job_id(), " is over: ", StateName(state)),
                     {{"jobId", job().job_id()}, {"state", StateName(state)}});
  }
  if (ending || (record_.cancel_requested() && (save || !record_.save_on_cancel()))) return absl::OkStatus();
  if (job().state() == v1::JOB_STATE_PAUSED) {
    Release(MakeOutcome(
        v1::JOB_STATE_CANCELLED, "CANCELLED",
        absl::StrCat("cancelled while paused at step ", job().progress().step(), "; its checkpoints stay")));
    return absl::OkStatus();
  }
  if (record_.pause_requested() && save) {
    return Refused("JOB_PAUSING", "is being paused, which saves a checkpoint");
  }
  if (save && job().phase() == v1::JOB_PHASE_TRAINING && WorkersHere() == 0) {
    return Refused("JOB_NOT_TRAINING", "waits for workers: there is no step they could stop at; cancel without saving");
  }
  record_.set_cancel_requested(true);
  record_.set_save_on_cancel(save);
  AddEvent("CANCEL_REQUESTED", save ? "cancel, saving the weights" : "cancel, not saving the weights");
  const bool trained = job().phase() == v1::JOB_PHASE_TRAINING || job().phase() == v1::JOB_PHASE_SAVING;
  if (!save || !trained) {
    const bool stopping = job().phase() == v1::JOB_PHASE_STOPPING;
    Release(MakeOutcome(v1::JOB_STATE_CANCELLED, "CANCELLED", CancelledMessage(job(), trained || stopping)));
  } else if (job().phase() == v1::JOB_PHASE_TRAINING) {
    BeginStopping();
  }
  return absl::OkStatus();
}

std::vector<std::string> JobMachine::WaitingFor() const {
  std::vector<std::string> names;
  const v1::JobPhase phase = record_.job().phase();
  const auto waits = [&](const Participant& p, bool server, int index) {
    if (phase == v1::JOB_PHASE_RELEASING) return !p.released();
    if (phase == v1::JOB_PHASE_SAVING) {
      return server && (pausing() ? !record_.pending_checkpoint().server_shards().contains(index) : index == 0);
    }
    if (phase == v1::JOB_PHASE_PREPARING_SERVERS) {
      return server && (needs_selection() ? index == 0 : !p.prepared());
    }
    if (phase == v1::JOB_PHASE_PREPARING_WORKERS) return !server && !p.prepared();
    return !server && (record_.has_stop_step() ? !p.finished() : !p.has_stop_point());
  };
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (waits(record_.servers(i), true, i)) names.push_back(Describe(Server(i)));
  }
  for (int i = 0; i < record_.workers_size(); ++i) {
    if (waits(record_.workers(i), false, i)) names.push_back(Describe(Worker(i)));
  }
  return names;
}

void JobMachine::OnTick() {
  if (!record_.has_phase_deadline() || now_ < FromTimestamp(record_.phase_deadline())) return;
  if (IsTerminal(job().state())) return;
  std::string names = absl::StrJoin(WaitingFor(), ", ");
  if (names.empty()) names = Describe(Server(0));
  switch (job().phase()) {
    case v1::JOB_PHASE_RELEASING:
      AddEvent("RELEASE_SKIPPED", absl::StrCat("no answer to the release from ", names), true);
      return Finish();
    case v1::JOB_PHASE_PREPARING_SERVERS:
    case v1::JOB_PHASE_PREPARING_WORKERS:
      return Fail(MakeError(
          absl::StatusCode::kDeadlineExceeded, "PREPARE_TIMEOUT",
          absl::StrCat("not prepared within ", absl::FormatDuration(options_.preparing_timeout), ": ", names)));
    case v1::JOB_PHASE_STOPPING:
      return Fail(
          MakeError(absl::StatusCode::kDeadlineExceeded, "STOP_TIMEOUT",
                    absl::StrCat("not stopped within ", absl::FormatDuration(options_.stopping_timeout), ": ", names)));
    default:
      if (pausing()) {
        return Fail(MakeError(
            absl::StatusCode::kDeadlineExceeded, "CHECKPOINT_TIMEOUT",
            absl::StrCat("no checkpoint to pause from within ", absl::FormatDuration(options_.checkpoint_timeout), ": ",
                         record_.has_failed_checkpoint() &&
                                 record_.failed_checkpoint().step() == record_.pending_checkpoint().step()
                             ? record_.failed_checkpoint().message()
                             : names)));
      }
      return Fail(MakeError(
          absl::StatusCode::kDeadlineExceeded, "SAVE_TIMEOUT",
          absl::StrCat("weights not saved within ", absl::FormatDuration(options_.saving_timeout), ": ", names)));
  }
}

void JobMachine::OnCoordinatorRestart() {
  if (IsTerminal(job().state()) || job().state() == v1::JOB_STATE_PAUSED) return;
  if (record_.pending_checkpoint().has_deadline()) {
    *record_.mutable_pending_checkpoint()->mutable_deadline() = ToTimestamp(now_ + options_.checkpoint_timeout);
  }
  if (record_.has_phase_deadline()) {
    const v1::JobPhase phase = job().phase();
    EnterPhase(phase, pausing() || needs_selection()     ? options_.checkpoint_timeout
                      : phase == v1::JOB_PHASE_SAVING    ? options_.saving_timeout
                      : phase == v1::JOB_PHASE_STOPPING  ? options_.stopping_timeout
                      : phase == v1::JOB_PHASE_RELEASING ? options_.releasing_timeout
                                                         : options_.preparing_timeout);
  }
  if (record_.has_change()) *record_.mutable_change()->mutable_deadline() = ToTimestamp(now_ + absl::Minutes(1));
  if (record_.has_workers_deadline()) {
    *record_.mutable_workers_deadline() = ToTimestamp(now_ + options_.workers_timeout);
  }
  for (coordinator::Joiner& joiner : *record_.mutable_joiners()) {
    *joiner.mutable_deadline() = ToTimestamp(now_ + options_.preparing_timeout);
  }
  AddEvent("COORDINATOR_RESTARTED", "the coordinator restarted; the job was read back from its store");
}

// ------------------------------------------------------------------------------------------------ the end

void JobMachine::Fail(const absl::Status& error, bool peer_unreachable) {
  Outcome outcome = FailedOutcome(error);
  outcome.set_peer_unreachable(peer_unreachable);
  AddEvent(outcome.reason(), outcome.message(), true);
  Release(std::move(outcome));
}

void JobMachine::Release(Outcome outcome) {
  SetReason(outcome.reason(), outcome.message());
  *record_.mutable_outcome() = std::move(outcome);
  record_.clear_evaluations();
  ReleaseJoiners();
  AbandonCheckpoint(recovering() ? "the job begins again" : "the job ends");
  EnterPhase(v1::JOB_PHASE_RELEASING, options_.releasing_timeout);
  SendPhaseCommandsToAll();
  MaybeAllReleased();
}

void JobMachine::MaybeAllReleased() {
  const auto released = [](const Participant& p) { return p.released(); };
  if (!std::all_of(record_.servers().begin(), record_.servers().end(), released)) return;
  if (!std::all_of(record_.workers().begin(), record_.workers().end(), released)) return;
  Finish();
}

void JobMachine::Finish() {
  const Outcome& outcome = record_.outcome();
  job().set_state(outcome.state());
  if (outcome.state() == v1::JOB_STATE_PAUSED) return FinishPause();
  if (recovering()) return FinishRecovery();
  if (outcome.has_error()) *job().mutable_error() = outcome.error();
  *job().mutable_end_time() = ToTimestamp(now_);
  EnterPhase(v1::JOB_PHASE_DONE, absl::InfiniteDuration());
  SetReason(outcome.reason(), outcome.message());
  const bool failed = outcome.state() == v1::JOB_STATE_FAILED;
  AddEvent(StateName(outcome.state()),
           failed ? absl::StrCat(outcome.reason(), ": ", outcome.message()) : outcome.message(), failed);
}

}  // namespace paramd
