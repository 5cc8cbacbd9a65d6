// What daemons report about a job, and the phases it moves to.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "common/rpc/error_status.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/job_outcome.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::Participant;
using coordinator::PendingEvaluation;

// Evaluations of which some worker's share is missing; the oldest is given up beyond this.
constexpr int kMaxPendingEvaluations = 64;

// Whether the failure says that a server is away, or is not the one any more that held the job: the loss of that server
// explains it better, and what was lost with it can be computed again. Not when a disk or the data failed.
bool ServerAway(const absl::Status& error) {
  const std::string reason = ErrorReason(error);
  if (reason.empty()) return absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error);
  return reason == "SERVER_UNREACHABLE" || reason == "LEASE_LOST" || reason == "JOB_NOT_FOUND" ||
         reason == "JOB_RELEASED";
}

}  // namespace

void JobMachine::OnReport(const NodeRef& from, const v1::JobReport& report) {
  if (report.has_checkpoint()) return OnCheckpointReport(from, report.generation(), report.checkpoint());
  if (job().state() != v1::JOB_STATE_RUNNING || OnJoinerReport(from, report)) return;
  Participant* participant = Find(from);
  if (participant == nullptr || participant->lost() || Outdated(from, report)) return;
  switch (report.report_case()) {
    case v1::JobReport::kPrepared:
      if (from == Server(0)) record_.set_checkpoint_directory(report.prepared().checkpoint_directory());
      return OnPrepared(from, *participant);
    case v1::JobReport::kEvaluation:
      return OnEvaluation(from, report.evaluation());
    case v1::JobReport::kStopPoint:
      return OnStopPoint(*participant, report.stop_point().step());
    case v1::JobReport::kFinished:
      return OnFinished(from, *participant, report.finished());
    case v1::JobReport::kSaved:
      return OnSaved(from, report.saved());
    case v1::JobReport::kFailed:
      return OnFailed(from, report.failed());
    case v1::JobReport::kReleased:
      return OnReleased(*participant);
    case v1::JobReport::kGenerationAdopted:
      return OnGenerationAdopted(from, report.generation_adopted());
    default:
      return;  // Progress is not the machine's; an unknown kind is a newer daemon's.
  }
}

// What a daemon says about its own work does not depend on who else is there; it may not have heard of that yet.
bool JobMachine::Outdated(const NodeRef& from, const v1::JobReport& report) const {
  if (report.generation() == record_.job().generation()) return false;
  const bool lasting =
      report.has_evaluation() || report.has_stop_point() || report.has_finished() || report.has_failed();
  const v1::JobPhase phase = record_.job().phase();
  if (!lasting || (phase != v1::JOB_PHASE_TRAINING && phase != v1::JOB_PHASE_STOPPING)) return true;
  uint64_t since = record_.placed_generation();
  for (const v1::WorkerPlacement& worker : record_.job().placement().workers()) {
    if (from == NodeRef{v1::NODE_ROLE_WORKER, worker.node_id(), worker.incarnation()}) {
      since = std::max<uint64_t>(since, worker.joined_generation());
    }
  }
  return report.generation() < since || report.generation() > record_.job().generation();
}

void JobMachine::OnPrepared(const NodeRef& from, Participant& participant) {
  const bool server = from.role == v1::NODE_ROLE_SERVER;
  const v1::JobPhase phase = server ? v1::JOB_PHASE_PREPARING_SERVERS : v1::JOB_PHASE_PREPARING_WORKERS;
  if (job().phase() != phase || participant.prepared()) return;
  participant.set_prepared(true);
  effects_.changed = true;
  MaybeAllPrepared();
}

void JobMachine::MaybeAllPrepared() {
  const auto prepared = [](const Participant& p) { return p.prepared(); };
  if (job().phase() == v1::JOB_PHASE_PREPARING_SERVERS) {
    if (!std::all_of(record_.servers().begin(), record_.servers().end(), prepared)) return;
    EnterPhase(v1::JOB_PHASE_PREPARING_WORKERS, options_.preparing_timeout);
    SetReason("PREPARING_WORKERS", absl::StrCat("waits for ", record_.workers_size(), " workers to open their data"));
    const std::string weights =
        record_.has_restore() ? absl::StrCat("weights of step ", record_.restore().first_step()) : "initial weights";
    AddEvent("SERVERS_PREPARED", absl::StrCat(record_.servers_size(), " servers hold the ", weights));
  } else {
    if (!std::all_of(record_.workers().begin(), record_.workers().end(), prepared)) return;
    EnterPhase(v1::JOB_PHASE_TRAINING, absl::InfiniteDuration());
    SetReason("TRAINING", absl::StrCat("trains on ", record_.workers_size(), " workers"));
    AddEvent("STARTED", absl::StrCat("training of ", job().spec().training().steps(), " steps starts on ",
                                     record_.workers_size(), " workers"));
  }
  SendPhaseCommandsToAll();
}

void JobMachine::OnEvaluation(const NodeRef& from, const v1::Evaluation& evaluation) {
  if (from.role != v1::NODE_ROLE_WORKER || !IsActivePhase(job().phase())) return;
  const v1::JobProgress& progress = job().progress();
  if (progress.has_validation_loss() && evaluation.step() <= progress.validation_step()) return;
  uint32_t shares = evaluation.shares(), share = evaluation.share();
  for (int i = 0; i < record_.workers_size() && evaluation.shares() == 0; ++i) {
    if (Worker(i) == from) share = i;
    shares = record_.workers_size();
  }
  if (share >= shares || shares > job().spec().training().slots()) return;  // No worker of ours says such a thing.
  auto* pending = record_.mutable_evaluations();
  auto entry = std::find_if(pending->begin(), pending->end(),
                            [&](const PendingEvaluation& e) { return e.step() >= evaluation.step(); });
  if (entry == pending->end() || entry->step() != evaluation.step()) {
    const auto position = entry - pending->begin();
    pending->Add()->set_step(evaluation.step());
    std::rotate(pending->begin() + position, pending->end() - 1, pending->end());
    entry = pending->begin() + position;
  }
  // Shares of another division, because the workers have changed meanwhile: those that came last count.
  const auto other = [&](const auto& known) { return known.second.shares() != shares; };
  if (std::any_of(entry->shares().begin(), entry->shares().end(), other)) entry->clear_shares();
  v1::Evaluation& kept = (*entry->mutable_shares())[share];
  kept = evaluation;
  kept.set_shares(shares);
  effects_.changed = true;
  if (entry->shares().size() == shares) {
    const PendingEvaluation complete = *entry;
    // An older evaluation that is still incomplete will never be the newest.
    pending->erase(pending->begin(), entry + 1);
    CompleteEvaluation(complete);
  } else if (pending->size() > kMaxPendingEvaluations) {
    pending->erase(pending->begin());
  }
}

void JobMachine::CompleteEvaluation(const PendingEvaluation& evaluation) {
  double loss_sum = 0;
  uint64_t count = 0;
  uint64_t correct = 0;
  for (uint32_t i = 0; i < evaluation.shares().size(); ++i) {  // In this order: the same sum every time.
    const v1::Evaluation& share = evaluation.shares().at(i);
    loss_sum += share.loss_sum();
    count += share.count();
    correct += share.correct();
  }
  if (count == 0) {
    AddEvent("EVALUATION_EMPTY", absl::StrCat("step ", evaluation.step(), ": the held-out split has no samples"), true);
    return;
  }
  v1::JobProgress& progress = *job().mutable_progress();
  progress.set_validation_loss(loss_sum / static_cast<double>(count));
  progress.set_validation_step(evaluation.step());
  const double accuracy = static_cast<double>(correct) / static_cast<double>(count);
  if (job().spec().model().has_mlp()) progress.set_validation_accuracy(accuracy);
  AddEvent("EVALUATED", absl::StrFormat("step %d: validation loss %.4f, accuracy %.2f %% of %d", evaluation.step(),
                                        progress.validation_loss(), 100 * accuracy, count));
}

void JobMachine::BeginStopping() {
  EnterPhase(v1::JOB_PHASE_STOPPING, options_.stopping_timeout);
  SetReason("STOPPING", "waits for the workers to name the step they can stop at");
  SendPhaseCommandsToAll();
}

void JobMachine::OnStopPoint(Participant& participant, uint64_t step) {
  if (job().phase() != v1::JOB_PHASE_STOPPING || record_.has_stop_step() || participant.has_stop_point()) return;
  participant.set_stop_point(std::min<uint64_t>(step, job().spec().training().steps()));
  effects_.changed = true;
  MaybeStopAgreed();
}

void JobMachine::MaybeStopAgreed() {
  if (job().phase() != v1::JOB_PHASE_STOPPING || record_.has_stop_step()) return;
  uint64_t stop_step = 0;
  for (const Participant& worker : record_.workers()) {
    if (!worker.has_stop_point()) return;
    stop_step = std::max<uint64_t>(stop_step, worker.stop_point());
  }
  record_.set_stop_step(stop_step);
  EnterPhase(v1::JOB_PHASE_STOPPING, options_.stopping_timeout);
  SetReason("STOPPING", absl::StrCat("all workers stop after ", stop_step, " steps"));
  AddEvent("STOP_AGREED", job().message());
  SendPhaseCommandsToAll();
}

void JobMachine::OnFinished(const NodeRef& from, Participant& participant, const v1::WorkerFinished& finished) {
  if (from.role != v1::NODE_ROLE_WORKER || participant.finished()) return;
  if (job().phase() != v1::JOB_PHASE_TRAINING && job().phase() != v1::JOB_PHASE_STOPPING) return;
  participant.set_finished(true);
  participant.set_stop_point(finished.step());
  if (!finished.sample_text().empty()) job().set_sample_text(finished.sample_text());
  effects_.changed = true;
  MaybeStopAgreed();
  MaybeAllFinished();
}

void JobMachine::MaybeAllFinished() {
  const v1::JobPhase phase = job().phase();
  if (phase != v1::JOB_PHASE_TRAINING && phase != v1::JOB_PHASE_STOPPING) return;
  uint64_t step = UINT64_MAX;
  for (const Participant& worker : record_.workers()) {
    if (!worker.finished()) return;
    step = std::min<uint64_t>(step, worker.stop_point());
  }
  v1::JobProgress& progress = *job().mutable_progress();
  progress.set_step(std::max<uint64_t>(progress.step(), step));
  record_.clear_change();  // Nobody has anything left to do in the new generation.
  if (record_.pause_requested() && step < job().spec().training().steps()) return TakePauseCheckpoint(step);
  EnterPhase(v1::JOB_PHASE_SAVING, options_.saving_timeout);
  SetReason("SAVING", absl::StrCat("waits for ", Describe(Server(0)), " to write the weights of step ", step));
  AddEvent("TRAINING_FINISHED", absl::StrCat("all workers have finished ", step, " steps"));
  SendPhaseCommandsToAll();
}

void JobMachine::OnSaved(const NodeRef& from, const v1::WeightsSaved& saved) {
  if (job().phase() != v1::JOB_PHASE_SAVING || !(from == Server(0))) return;
  job().set_final_weights_sha256(saved.sha256());
  job().set_output_directory(saved.directory());
  AddEvent("WEIGHTS_SAVED", absl::StrCat("step ", saved.step(), ": ", saved.bytes(), " bytes in ", saved.directory()));
  const uint64_t step = job().progress().step();
  if (record_.cancel_requested()) {
    Release(
        MakeOutcome(v1::JOB_STATE_CANCELLED, "CANCELLED", absl::StrCat("cancelled at step ", step, "; weights saved")));
  } else {
    Release(MakeOutcome(v1::JOB_STATE_SUCCEEDED, "SUCCEEDED", absl::StrCat("trained ", step, " steps")));
  }
}

void JobMachine::OnFailed(const NodeRef& from, const google::rpc::Status& status) {
  if (!IsActivePhase(job().phase())) return;
  absl::Status error = FromRpcStatus(status);
  const std::string told = ErrorReason(error);
  if (from.role == v1::NODE_ROLE_WORKER && (told == "WORKER_STOPPED" || told == "GENERATION_FENCED")) {
    SendRelease(from, "it gave the job up");
    return OnNodeLost(from, std::string(error.message()));
  }
  if (error.ok()) error = absl::UnknownError("reported a failure without an error");
  std::string reason = ErrorReason(error);
  if (reason.empty()) reason = from.role == v1::NODE_ROLE_SERVER ? "SERVER_FAILED" : "WORKER_FAILED";
  ErrorMetadata metadata = GetErrorMetadata(error);
  metadata["node"] = from.node_id;
  const bool server_away = ServerAway(error);
  error = MakeError(error.code(), reason, absl::StrCat(Describe(from), ": ", error.message()), metadata);
  // One that could not even begin has most likely a wrong address or a firewall before it: that is for people to see.
  if (server_away && job().phase() >= v1::JOB_PHASE_TRAINING) return RecoverOrFail(error, true);
  Fail(error, server_away);
}

void JobMachine::OnReleased(Participant& participant) {
  if (job().phase() != v1::JOB_PHASE_RELEASING || participant.released()) return;
  participant.set_released(true);
  effects_.changed = true;
  MaybeAllReleased();
}

}  // namespace paramd
