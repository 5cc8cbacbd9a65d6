#include "server/coordinator/testing/checkpoint_machine_fixture.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

namespace paramd {

using testing::ElementsAre;

CheckpointMachineFixture::CheckpointMachineFixture() : JobMachineFixture({.workers = 1, .slots = 4}) {
  v1::JobSpec& spec = *record_.mutable_job()->mutable_spec();
  spec.mutable_checkpoint()->set_every_steps(10);
  spec.mutable_checkpoint()->set_keep(2);
  Submit();
}

void CheckpointMachineFixture::Tick() {
  Do([&](JobMachine& m) {
    if (JobMachine::CheckpointDue(record_, now_)) m.OnCheckpointTick();
  });
}

void CheckpointMachineFixture::ReportCheckpoint(const NodeRef& from,
                                                const std::function<void(v1::CheckpointReport&)>& fill) {
  Report(from, [&](v1::JobReport& r) {
    r.mutable_checkpoint()->set_number(record_.pending_checkpoint().number());
    r.mutable_checkpoint()->set_step(record_.pending_checkpoint().step());
    fill(*r.mutable_checkpoint());
  });
}

void CheckpointMachineFixture::ReportShards() {
  for (int i = 0; i < 2; ++i) {
    ReportCheckpoint(Server(i), [i](v1::CheckpointReport& r) {
      r.mutable_shard()->add_files()->set_name(absl::StrCat("server-", i, ".shard"));
    });
  }
}

void CheckpointMachineFixture::Commit(const std::vector<uint64_t>& removed) {
  ReportShards();
  ReportCheckpoint(Server(0), [&](v1::CheckpointReport& r) {
    r.mutable_committed()->set_bytes(1000);
    for (uint64_t step : removed) r.mutable_committed()->add_removed(step);
  });
}

void CheckpointMachineFixture::Stop(uint64_t step) {
  StopPoint(0, step);
  Finished(0, step);
}

void CheckpointMachineFixture::Select(uint64_t step, const std::vector<std::string>& skipped) {
  Place();
  ASSERT_THAT(CheckpointCommands(), ElementsAre(absl::StrCat("s0 select ", record_.restore().step())));
  Report(Server(0), [&](v1::JobReport& r) {
    r.mutable_checkpoint()->set_number(UINT64_MAX);
    r.mutable_checkpoint()->set_step(step);
    v1::CheckpointSelected& selected = *r.mutable_checkpoint()->mutable_selected();
    selected.set_directory(absl::StrCat(kDirectory, "/", step));
    for (const std::string& what : skipped) selected.add_skipped(what);
  });
}

std::vector<std::string> CheckpointMachineFixture::CheckpointCommands() const {
  std::vector<std::string> names;
  for (const JobCommand& command : last_.commands) {
    if (!command.message.has_checkpoint()) continue;
    const v1::CheckpointCommand& c = command.message.checkpoint();
    const std::string what = c.has_take()      ? "take"
                             : c.has_commit()  ? "commit"
                             : c.has_abandon() ? "abandon"
                             : c.has_select()  ? "select"
                             : c.has_verify()  ? "verify"
                                               : "remove";
    names.push_back(absl::StrCat(command.to.node_id, " ", what, " ", c.step()));
  }
  return names;
}

std::vector<uint64_t> CheckpointMachineFixture::Steps() const {
  std::vector<uint64_t> steps;
  for (const v1::Checkpoint& c : record_.checkpoints()) steps.push_back(c.step());
  return steps;
}

}  // namespace paramd
