#include "server/coordinator/testing/job_machine_fixture.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/partition/slot_dealing.h"

namespace paramd {
namespace {

constexpr int kServers = 2;

}  // namespace

JobMachineFixture::JobMachineFixture(const FixtureJob& size) : size_(size) {
  v1::Job& job = *record_.mutable_job();
  job.set_job_id("job-1");
  v1::JobSpec& spec = *job.mutable_spec();
  spec.mutable_training()->set_steps(100);
  spec.mutable_training()->set_slots(size.slots);
  spec.mutable_sync()->set_mode(v1::SYNC_MODE_SYNC);
  spec.mutable_resources()->set_workers(static_cast<uint32_t>(size.workers));
  spec.mutable_model()->mutable_mlp();
}

void JobMachineFixture::Do(const std::function<void(JobMachine&)>& change) {
  JobMachine machine(record_, options_, now_);
  change(machine);
  last_ = machine.TakeEffects();
  events_.insert(events_.end(), last_.events.begin(), last_.events.end());
  all_commands_.insert(all_commands_.end(), last_.commands.begin(), last_.commands.end());
}

void JobMachineFixture::After(absl::Duration duration) {
  now_ += duration;
  Do([&](JobMachine& m) {
    m.OnTick();
    if (JobMachine::CheckpointDue(record_, now_)) m.OnCheckpointTick();
    m.OnMembershipTick();
  });
}

NodeRef JobMachineFixture::Server(int i) { return {v1::NODE_ROLE_SERVER, absl::StrCat("s", i), 7}; }

NodeRef JobMachineFixture::Worker(int i) { return {v1::NODE_ROLE_WORKER, absl::StrCat("w", i), 9}; }

void JobMachineFixture::Submit() {
  Do([](JobMachine& m) { m.OnSubmitted(); });
}

void JobMachineFixture::Place() {
  v1::Placement placement;
  for (int i = 0; i < kServers; ++i) {
    v1::ServerPlacement& server = *placement.add_servers();
    server.set_node_id(Server(i).node_id);
    server.set_incarnation(Server(i).incarnation);
  }
  const std::vector<SlotRange> ranges = DealSlots(size_.slots, static_cast<uint32_t>(size_.workers));
  for (int i = 0; i < size_.workers; ++i) {
    v1::WorkerPlacement& worker = *placement.add_workers();
    worker.set_node_id(Worker(i).node_id);
    worker.set_incarnation(Worker(i).incarnation);
    worker.set_first_slot(ranges[i].first);
    worker.set_slot_count(ranges[i].count);
  }
  Do([&](JobMachine& m) { m.OnPlaced(placement); });
}

void JobMachineFixture::Prepared(const NodeRef& from) {
  Report(from, [](v1::JobReport& r) { r.mutable_prepared()->set_checkpoint_directory("/out/job-1/checkpoints"); });
}

void JobMachineFixture::Train() {
  if (job().state() == v1::JOB_STATE_PENDING) Place();
  for (int i = 0; i < kServers; ++i) Prepared(Server(i));
  for (int i = 0; i < size_.workers; ++i) Prepared(Worker(i));
  ASSERT_EQ(job().phase(), v1::JOB_PHASE_TRAINING);
}

void JobMachineFixture::Report(const NodeRef& from, const std::function<void(v1::JobReport&)>& fill) {
  ReportOf(job().generation(), from, fill);
}

void JobMachineFixture::ReportOf(uint64_t generation, const NodeRef& from,
                                 const std::function<void(v1::JobReport&)>& fill) {
  v1::JobReport report;
  report.set_job_id("job-1");
  report.set_generation(generation);
  fill(report);
  Do([&](JobMachine& m) { m.OnReport(from, report); });
}

void JobMachineFixture::Finished(int worker, uint64_t step) {
  Report(Worker(worker), [&](v1::JobReport& r) { r.mutable_finished()->set_step(step); });
}

void JobMachineFixture::StopPoint(int worker, uint64_t step) {
  Report(Worker(worker), [&](v1::JobReport& r) { r.mutable_stop_point()->set_step(step); });
}

void JobMachineFixture::Released(const NodeRef& from) {
  Report(from, [](v1::JobReport& r) { r.mutable_released(); });
}

void JobMachineFixture::ReleaseAll() {
  for (int i = 0; i < kServers; ++i) Released(Server(i));
  for (int i = 0; i < size_.workers; ++i) Released(Worker(i));
}

void JobMachineFixture::Lose(const NodeRef& node) {
  Do([&](JobMachine& m) { m.OnNodeLost(node, "no heartbeat for 10s"); });
}

absl::Status JobMachineFixture::Cancel(bool save) {
  absl::Status status;
  Do([&](JobMachine& m) { status = m.OnCancel(save); });
  return status;
}

int JobMachineFixture::Events(const std::string& reason) const {
  return static_cast<int>(std::count_if(events_.begin(), events_.end(),
                                        [&](const v1::JobEvent& event) { return event.reason() == reason; }));
}

std::vector<std::string> JobMachineFixture::Commands() const {
  std::vector<std::string> out;
  for (const JobCommand& command : last_.commands) {
    const auto* field = v1::CoordinatorMessage::descriptor()->FindFieldByNumber(command.message.message_case());
    out.push_back(absl::StrCat(command.to.node_id, ":", field->name()));
  }
  return out;
}

}  // namespace paramd
