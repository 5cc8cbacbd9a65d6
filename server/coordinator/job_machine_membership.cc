// Workers that come and go while a job trains.
//
// Every change is a generation. First all servers adopt it: from then on nothing of an older generation is taken, and
// what waits is refused, so nobody gets beyond the step that is open. They say what that step still lacks. What was to
// come of workers that are gone is divided among those who are there; from the next step on the slots are dealt anew.
// Then the workers are told. A loss meanwhile begins another generation, on the same dealings.
//
// So a worker that joins, one that is lost and slots that are dealt by speed are one thing, and the same slots are
// summed up in every step, by whomever.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/partition/slot_dealing.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::Dealing;
using coordinator::DealtSlots;
using coordinator::JobRecord;
using coordinator::Joiner;
using coordinator::Participant;

constexpr absl::Duration kChangeTimeout = absl::Minutes(1);

v1::SlotSpan Span(uint32_t first, uint32_t count) {
  v1::SlotSpan span;
  span.set_first_slot(first);
  span.set_slot_count(count);
  return span;
}

std::string SpanText(const v1::SlotSpan& span) {
  if (span.slot_count() == 0) return "no slots";
  return absl::StrCat("slots ", span.first_slot(), "..", span.first_slot() + span.slot_count() - 1);
}

void Mark(const v1::SlotSpan& span, bool value, std::vector<bool>& slots) {
  for (uint32_t i = span.first_slot(); i < span.first_slot() + span.slot_count() && i < slots.size(); ++i) {
    slots[i] = value;
  }
}

Dealing DealingOf(const v1::Placement& placement, uint64_t from_step) {
  Dealing dealing;
  dealing.set_from_step(from_step);
  for (const v1::WorkerPlacement& worker : placement.workers()) {
    DealtSlots& dealt = *dealing.add_slots();
    dealt.set_node_id(worker.node_id());
    dealt.set_incarnation(worker.incarnation());
    *dealt.mutable_own() = Span(worker.first_slot(), worker.slot_count());
  }
  return dealing;
}

// What the worker has in the dealing; nothing when it is not in it.
DealtSlots PartOf(const Dealing& dealing, const v1::WorkerPlacement& worker) {
  for (const DealtSlots& dealt : dealing.slots()) {
    if (dealt.node_id() == worker.node_id() && dealt.incarnation() == worker.incarnation()) return dealt;
  }
  DealtSlots none;
  none.set_node_id(worker.node_id());
  none.set_incarnation(worker.incarnation());
  return none;
}

// Divides the marked slots evenly, as spans.
void DealOrphans(const std::vector<bool>& orphans, Dealing& dealing) {
  std::vector<uint32_t> slots;
  for (uint32_t slot = 0; slot < orphans.size(); ++slot) {
    if (orphans[slot]) slots.push_back(slot);
  }
  const size_t workers = dealing.slots_size();
  for (size_t i = 0; i < slots.size(); ++i) {
    auto& inherited = *dealing.mutable_slots(static_cast<int>(i * workers / slots.size()))->mutable_inherited();
    const int last = inherited.size() - 1;
    if (last >= 0 && inherited[last].first_slot() + inherited[last].slot_count() == slots[i]) {
      inherited[last].set_slot_count(inherited[last].slot_count() + 1);
    } else {
      *inherited.Add() = Span(slots[i], 1);
    }
  }
}

}  // namespace

uint32_t JobMachine::WorkersWanted(const v1::Job& job) {
  return job.workers_wanted() > 0 ? job.workers_wanted() : job.spec().resources().workers();
}

uint32_t JobMachine::WorkersMissing(const JobRecord& record, absl::Time now) {
  if (record.job().phase() != v1::JOB_PHASE_TRAINING) return 0;
  if (record.has_join_not_before() && now < FromTimestamp(record.join_not_before())) return 0;
  auto here = static_cast<uint32_t>(record.joiners_size());
  for (const Participant& worker : record.workers()) {
    if (worker.finished()) return 0;  // It is all but over.
    here += worker.lost() ? 0 : 1;
  }
  const uint32_t wanted = WorkersWanted(record.job());
  return wanted > here ? wanted - here : 0;
}

void JobMachine::BeginDealings() {
  record_.clear_dealings();
  record_.clear_change();
  record_.clear_dealt_at_step();
  *record_.add_dealings() = DealingOf(job().placement(), 0);
  record_.set_placed_generation(job().generation());
  for (v1::WorkerPlacement& worker : *job().mutable_placement()->mutable_workers()) {
    worker.set_joined_generation(job().generation());
  }
}

// ------------------------------------------------------------------------------------------------ who is there

void JobMachine::OnWorkerGone(const NodeRef& node, const std::string& message) {
  Disown(node);
  AddEvent("WORKER_LOST", absl::StrCat(message, "; at step ", job().progress().step()), true);
  StartChange({});
}

// Not even when it comes back is what it had its own.
void JobMachine::Disown(const NodeRef& node) {
  for (Dealing& dealing : *record_.mutable_dealings()) {
    for (DealtSlots& dealt : *dealing.mutable_slots()) {
      if (dealt.node_id() == node.node_id && dealt.incarnation() == node.incarnation) dealt.clear_node_id();
    }
  }
}

void JobMachine::StartChange(absl::Span<const SlotRange> ranges) {
  std::vector<std::pair<v1::WorkerPlacement, Participant>> members;
  for (int i = 0; i < record_.workers_size(); ++i) {
    if (!record_.workers(i).lost()) members.push_back({job().placement().workers(i), record_.workers(i)});
  }
  auto& joiners = *record_.mutable_joiners();
  for (const Joiner& joiner : joiners) {
    if (!joiner.prepared() || members.size() >= job().spec().training().slots()) continue;
    members.emplace_back();
    members.back().first.set_node_id(joiner.node_id());
    members.back().first.set_incarnation(joiner.incarnation());
    members.back().first.set_joined_generation(job().generation() + 1);
    members.back().second.set_prepared(true);
  }
  if (members.empty()) return WaitForWorkers();
  joiners.erase(std::remove_if(joiners.begin(), joiners.end(), [](const Joiner& j) { return j.prepared(); }),
                joiners.end());
  effects_.changed = true;
  record_.clear_workers_deadline();
  job().set_generation(job().generation() + 1);
  std::vector<SlotRange> even;
  if (ranges.size() != members.size()) {
    even = DealSlots(job().spec().training().slots(), static_cast<uint32_t>(members.size()));
    ranges = even;
  }
  job().mutable_placement()->clear_workers();
  record_.clear_workers();
  for (size_t i = 0; i < members.size(); ++i) {
    members[i].first.set_first_slot(ranges[i].first);
    members[i].first.set_slot_count(ranges[i].count);
    *job().mutable_placement()->add_workers() = members[i].first;
    *record_.add_workers() = members[i].second;
  }
  record_.clear_change();
  *record_.mutable_change()->mutable_deadline() = ToTimestamp(now_ + kChangeTimeout);
  for (int i = 0; i < record_.servers_size(); ++i) SendPhaseCommands(Server(i), record_.servers(i));
}

void JobMachine::WaitForWorkers() {
  if (job().phase() != v1::JOB_PHASE_TRAINING) {  // Nobody joins a job that is to stop.
    return Fail(
        MakeError(absl::StatusCode::kUnavailable, "WORKER_LOST",
                  absl::StrCat("all workers were lost while the job was to stop, at step ", job().progress().step())));
  }
  effects_.changed = true;
  record_.clear_change();
  if (record_.has_workers_deadline()) return;
  *record_.mutable_workers_deadline() = ToTimestamp(now_ + options_.workers_timeout);
  SetReason("WAITING_FOR_WORKERS", absl::StrCat("all workers are gone; fails if none joins within ",
                                                absl::FormatDuration(options_.workers_timeout)));
  AddEvent("WAITING_FOR_WORKERS", job().message(), true);
}

void JobMachine::RestartPreparation(const std::string& message) {
  v1::Placement& placement = *job().mutable_placement();
  for (int i = record_.workers_size() - 1; i >= 0; --i) {
    if (!record_.workers(i).lost()) continue;
    placement.mutable_workers()->DeleteSubrange(i, 1);
    record_.mutable_workers()->DeleteSubrange(i, 1);
  }
  const std::vector<SlotRange> ranges =
      DealSlots(job().spec().training().slots(), static_cast<uint32_t>(record_.workers_size()));
  for (int i = 0; i < record_.workers_size(); ++i) {
    placement.mutable_workers(i)->set_first_slot(ranges[i].first);
    placement.mutable_workers(i)->set_slot_count(ranges[i].count);
    record_.mutable_workers(i)->set_prepared(false);
  }
  for (Participant& server : *record_.mutable_servers()) server.set_prepared(false);
  job().set_generation(job().generation() + 1);
  BeginDealings();
  EnterPhase(v1::JOB_PHASE_PREPARING_SERVERS,
             needs_selection() ? options_.checkpoint_timeout : options_.preparing_timeout);
  AddEvent("WORKER_LOST", absl::StrCat(message, "; ", record_.workers_size(), " prepare themselves without it"), true);
  SendPhaseCommandsToAll();
}

// ------------------------------------------------------------------------------------------------ a change

v1::CoordinatorMessage JobMachine::ChangeMessage() const {
  v1::CoordinatorMessage message;
  v1::ChangeGeneration& change = *message.mutable_change_generation();
  change.set_job_id(record_.job().job_id());
  change.set_generation(record_.job().generation());
  *change.mutable_placement() = record_.job().placement();
  return message;
}

void JobMachine::SendChangeToServer(const NodeRef& node) {
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (Server(i) == node && !record_.change().servers().contains(i)) Send(node, ChangeMessage());
  }
}

void JobMachine::SendChangeToWorker(const NodeRef& node) {
  if (record_.dealings_size() < 2) return;  // Nothing has changed yet.
  const Dealing& open = record_.dealings(0);
  v1::CoordinatorMessage message = ChangeMessage();
  v1::ChangeGeneration& change = *message.mutable_change_generation();
  for (int i = 0; i < record_.workers_size(); ++i) {
    if (Worker(i) == node) change.set_worker_index(i);
  }
  const DealtSlots part = PartOf(open, job().placement().workers(static_cast<int>(change.worker_index())));
  change.set_step(open.from_step());
  change.set_first_clock(open.from_step());
  *change.mutable_own() = part.own();
  *change.mutable_inherited() = part.inherited();
  Send(node, std::move(message));
}

void JobMachine::OnGenerationAdopted(const NodeRef& from, const v1::GenerationAdopted& adopted) {
  if (!record_.has_change()) return;
  for (int i = 0; i < record_.servers_size(); ++i) {
    if (!(Server(i) == from) || record_.change().servers().contains(i)) continue;
    (*record_.mutable_change()->mutable_servers())[i] = adopted;
    effects_.changed = true;
  }
  if (static_cast<int>(record_.change().servers().size()) == record_.servers_size()) CompleteChange();
}

// The open step of the whole job, and what it lacks.
uint64_t JobMachine::OpenStep(std::vector<bool>& missing) const {
  const v1::JobSpec& spec = record_.job().spec();
  missing.assign(spec.training().slots(), false);
  uint64_t step = 0;
  if (spec.sync().mode() == v1::SYNC_MODE_SSP || spec.sync().mode() == v1::SYNC_MODE_ASYNC) {
    for (const auto& [index, server] : record_.change().servers()) step = std::max<uint64_t>(step, server.step());
    // Some chunks may have all clocks already, others not: who joins pushes the last one to all of them.
    return std::min<uint64_t>(step, spec.training().steps() - 1);
  }
  step = spec.training().steps();
  for (const auto& [index, server] : record_.change().servers()) step = std::min<uint64_t>(step, server.step());
  // A step that nobody will do has no slots to be done.
  const uint64_t end = record_.has_stop_step() ? record_.stop_step() : spec.training().steps();
  for (const auto& [index, server] : record_.change().servers()) {
    if (server.step() != step || step >= end) continue;
    for (const v1::SlotSpan& span : server.missing()) Mark(span, true, missing);
  }
  return step;
}

void JobMachine::CompleteChange() {
  std::vector<bool> orphans;
  const uint64_t step = OpenStep(orphans);
  const Dealing* present = &record_.dealings(0);
  for (const Dealing& dealing : record_.dealings()) {
    if (dealing.from_step() <= step) present = &dealing;
  }
  Dealing open;
  open.set_from_step(step);
  for (const v1::WorkerPlacement& worker : job().placement().workers()) {
    DealtSlots part = PartOf(*present, worker);
    Mark(part.own(), false, orphans);
    if (present->from_step() != step) part.clear_inherited();
    for (const v1::SlotSpan& span : part.inherited()) Mark(span, false, orphans);
    *open.add_slots() = std::move(part);
  }
  const auto taken_over = std::count(orphans.begin(), orphans.end(), true);
  DealOrphans(orphans, open);
  const Dealing before = record_.dealings(record_.dealings_size() - 1);
  record_.clear_dealings();
  *record_.add_dealings() = std::move(open);
  *record_.add_dealings() = DealingOf(job().placement(), step + 1);
  record_.clear_change();
  ReportChange(before, step, static_cast<size_t>(taken_over));
  for (int i = 0; i < record_.workers_size(); ++i) SendPhaseCommands(Worker(i), record_.workers(i));
  MaybeStopAgreed();
  MaybeAllFinished();
}

void JobMachine::ReportChange(const Dealing& before, uint64_t step, size_t taken_over) {
  const v1::Placement& placement = job().placement();
  std::vector<std::string> parts, joined;
  for (const v1::WorkerPlacement& worker : placement.workers()) {
    const v1::SlotSpan span = Span(worker.first_slot(), worker.slot_count());
    parts.push_back(absl::StrCat(worker.node_id(), " ", SpanText(span)));
    const bool was_here = std::any_of(before.slots().begin(), before.slots().end(), [&](const DealtSlots& dealt) {
      return dealt.node_id() == worker.node_id() && dealt.incarnation() == worker.incarnation();
    });
    if (!was_here) joined.push_back(absl::StrCat("worker ", worker.node_id(), " joins with ", SpanText(span)));
  }
  if (!joined.empty()) {  // One event, however many they are: a transition writes no more than the store takes at once.
    AddEvent("WORKER_JOINED", absl::StrCat(absl::StrJoin(joined, ", "), " from step ", step + 1));
  }
  AddEvent("GENERATION_CHANGED",
           absl::StrCat("generation ", job().generation(), " from step ", step + 1, ": ", absl::StrJoin(parts, ", "),
                        "; ", taken_over, " slots of step ", step, " are taken over"));
  if (job().phase() != v1::JOB_PHASE_TRAINING) return;
  SetReason("TRAINING", absl::StrCat("trains on ", placement.workers_size(), " of ", WorkersWanted(job()), " workers"));
}

// ------------------------------------------------------------------------------------------------ time

bool JobMachine::MembershipDue(const JobRecord& record, absl::Time now) {
  if (record.job().state() != v1::JOB_STATE_RUNNING) return false;
  const auto past = [now](const google::protobuf::Timestamp& time) { return now >= FromTimestamp(time); };
  if (record.has_workers_deadline() && past(record.workers_deadline())) return true;
  if (record.has_change() && past(record.change().deadline())) return true;
  return std::any_of(record.joiners().begin(), record.joiners().end(),
                     [&](const Joiner& joiner) { return past(joiner.deadline()); });
}

void JobMachine::OnMembershipTick() {
  if (!MembershipDue(record_, now_)) return;
  if (record_.has_workers_deadline() && now_ >= FromTimestamp(record_.workers_deadline())) {
    return Fail(MakeError(absl::StatusCode::kUnavailable, "WORKERS_TIMEOUT",
                          absl::StrCat("all workers were lost at step ", job().progress().step(),
                                       ", and none joined within ", absl::FormatDuration(options_.workers_timeout))));
  }
  if (record_.has_change() && now_ >= FromTimestamp(record_.change().deadline())) {
    std::vector<std::string> names;
    for (int i = 0; i < record_.servers_size(); ++i) {
      if (!record_.change().servers().contains(i)) names.push_back(Describe(Server(i)));
    }
    return Fail(MakeError(absl::StatusCode::kDeadlineExceeded, "GENERATION_TIMEOUT",
                          absl::StrCat("generation ", job().generation(), " not adopted within ",
                                       absl::FormatDuration(kChangeTimeout), " by ", absl::StrJoin(names, ", "))));
  }
  std::vector<NodeRef> late;
  for (const Joiner& joiner : record_.joiners()) {
    if (now_ < FromTimestamp(joiner.deadline())) continue;
    late.push_back({v1::NODE_ROLE_WORKER, joiner.node_id(), joiner.incarnation()});
  }
  for (const NodeRef& node : late) {
    DropJoiner(node, absl::StrCat("not prepared within ", absl::FormatDuration(options_.preparing_timeout)));
  }
}

}  // namespace paramd
