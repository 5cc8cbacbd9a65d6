// Workers that join a job on purpose, leave it on purpose, or get another part of it: offers, scaling, dealing by
// speed.
//
// Each ends in a change of the generation (job_machine_membership.cc), a join only once the worker is prepared.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/partition/slot_dealing.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::Joiner;
using coordinator::Participant;

constexpr absl::Duration kJoinRetry = absl::Seconds(30);  // After a worker that could not join.
// Slots are dealt anew when that makes a step shorter by more than this part of it, and not more often.
constexpr double kWorthwhileGain = 0.2;
constexpr uint64_t kStepsBetweenDeals = 50;

}  // namespace

void JobMachine::OnWorkerOffered(const NodeRef& node) {
  // One that was lost may come back, before others have taken its place.
  const Participant* const known = Find(node);
  if (WorkersMissing(record_, now_) == 0 || FindJoiner(node) != nullptr || (known != nullptr && !known->lost())) return;
  Joiner& joiner = *record_.add_joiners();
  joiner.set_node_id(node.node_id);
  joiner.set_incarnation(node.incarnation);
  *joiner.mutable_deadline() = ToTimestamp(now_ + options_.preparing_timeout);
  effects_.changed = true;
  SendJoin(node);
}

void JobMachine::SendJoin(const NodeRef& node) {
  v1::CoordinatorMessage message = PrepareMessage(node);
  v1::PrepareWorker& prepare = *message.mutable_prepare_worker();
  v1::WorkerPlacement& place = *prepare.mutable_assignment()->mutable_placement()->add_workers();
  place.set_node_id(node.node_id);
  place.set_incarnation(node.incarnation);
  prepare.set_worker_index(prepare.assignment().placement().workers_size() - 1);
  prepare.set_joining(true);
  Send(node, std::move(message));
}

bool JobMachine::Involves(const NodeRef& node) {
  const Participant* const participant = Find(node);
  return FindJoiner(node) != nullptr || (participant != nullptr && !participant->lost());
}

Joiner* JobMachine::FindJoiner(const NodeRef& node) {
  for (Joiner& joiner : *record_.mutable_joiners()) {
    if (node.role == v1::NODE_ROLE_WORKER && joiner.node_id() == node.node_id &&
        joiner.incarnation() == node.incarnation) {
      return &joiner;
    }
  }
  return nullptr;
}

void JobMachine::DropJoiner(const NodeRef& node, const std::string& why) {
  auto& joiners = *record_.mutable_joiners();
  const auto found = std::find_if(joiners.begin(), joiners.end(), [&](const Joiner& joiner) {
    return joiner.node_id() == node.node_id && joiner.incarnation() == node.incarnation;
  });
  if (found == joiners.end()) return;
  joiners.erase(found);
  *record_.mutable_join_not_before() = ToTimestamp(now_ + kJoinRetry);
  AddEvent("JOIN_FAILED", absl::StrCat(Describe(node), ": ", why), true);
  SendRelease(node, "it could not join");
}

void JobMachine::SendRelease(const NodeRef& node, const std::string& reason) {
  v1::CoordinatorMessage message;
  message.mutable_release()->set_job_id(job().job_id());
  message.mutable_release()->set_generation(job().generation());
  message.mutable_release()->set_reason(reason);
  Send(node, std::move(message));
}

void JobMachine::ReleaseJoiners() {
  for (const Joiner& joiner : record_.joiners()) {
    SendRelease({v1::NODE_ROLE_WORKER, joiner.node_id(), joiner.incarnation()}, "the job ends");
  }
  record_.clear_joiners();
  record_.clear_change();
  record_.clear_workers_deadline();
}

bool JobMachine::OnJoinerReport(const NodeRef& from, const v1::JobReport& report) {
  Joiner* joiner = FindJoiner(from);
  if (joiner == nullptr) return false;
  if (report.generation() < record_.placed_generation() || report.generation() > job().generation()) return true;
  if (report.has_failed()) DropJoiner(from, report.failed().message());
  if (!report.has_prepared() || joiner->prepared() || job().phase() != v1::JOB_PHASE_TRAINING) return true;
  joiner->set_prepared(true);
  StartChange({});
  return true;
}

absl::Status JobMachine::OnScale(uint32_t workers) {
  const uint32_t slots = job().spec().training().slots();
  if (workers < 1 || workers > slots) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_WORKERS",
                     absl::StrCat("workers: must be 1..", slots, ", the job's slots, got ", workers));
  }
  if (IsTerminal(job().state()) || (job().phase() == v1::JOB_PHASE_RELEASING && !recovering())) {
    return Refused("JOB_ALREADY_FINISHED", "is over");
  }
  if (workers == WorkersWanted(job())) return absl::OkStatus();
  const uint32_t before = WorkersWanted(job());
  job().set_workers_wanted(workers);
  AddEvent("SCALED", absl::StrCat("from ", before, " to ", workers, " workers, at step ", job().progress().step()));
  while (record_.joiners_size() > 0 && WorkersHere() + record_.joiners_size() > workers) {
    const Joiner& last = record_.joiners(record_.joiners_size() - 1);
    SendRelease({v1::NODE_ROLE_WORKER, last.node_id(), last.incarnation()}, "the job was scaled");
    record_.mutable_joiners()->RemoveLast();
  }
  if (job().phase() != v1::JOB_PHASE_TRAINING) return absl::OkStatus();
  // The last ones go at once: what they have not done of the open step is taken over, as if they were lost.
  uint32_t surplus = WorkersHere() > workers ? WorkersHere() - workers : 0;
  const bool shrinks = surplus > 0;
  for (int i = record_.workers_size() - 1; i >= 0 && surplus > 0; --i) {
    Participant& worker = *record_.mutable_workers(i);
    if (worker.lost() || worker.finished()) continue;
    worker.set_lost(true);
    worker.set_released(true);
    SendRelease(Worker(i), "the job was scaled");
    Disown(Worker(i));
    --surplus;
  }
  if (shrinks) StartChange({});
  return absl::OkStatus();
}

uint32_t JobMachine::WorkersHere() const {
  return static_cast<uint32_t>(std::count_if(record_.workers().begin(), record_.workers().end(),
                                             [](const Participant& worker) { return !worker.lost(); }));
}

void JobMachine::OnSpeeds(absl::Span<const double> slots_per_second) {
  const uint64_t step = job().progress().step();
  if (job().phase() != v1::JOB_PHASE_TRAINING || record_.has_change() || record_.joiners_size() > 0) return;
  if (step < record_.dealt_at_step() + kStepsBetweenDeals || record_.workers_size() < 2) return;
  if (static_cast<int>(slots_per_second.size()) != record_.workers_size()) return;
  const auto known = [](double speed) { return speed > 0; };
  if (!std::all_of(slots_per_second.begin(), slots_per_second.end(), known)) return;
  const auto gone = [](const Participant& worker) { return worker.lost() || worker.finished(); };
  if (std::any_of(record_.workers().begin(), record_.workers().end(), gone)) return;
  std::vector<SlotRange> present;
  for (const v1::WorkerPlacement& worker : job().placement().workers()) {
    present.push_back({.first = worker.first_slot(), .count = worker.slot_count()});
  }
  const std::vector<SlotRange> better = DealSlotsBySpeed(job().spec().training().slots(), slots_per_second);
  const double now = StepSeconds(present, slots_per_second), then = StepSeconds(better, slots_per_second);
  if (now - then <= kWorthwhileGain * now) return;
  record_.set_dealt_at_step(step);
  AddEvent("SLOTS_DEALT", absl::StrCat("by speed: a step's slots take ", absl::FormatDuration(absl::Seconds(then)),
                                       " instead of ", absl::FormatDuration(absl::Seconds(now))));
  StartChange(better);
}

}  // namespace paramd
