// A job that is checkpointed every 10 steps unless changed, on one worker, for tests of the machine. Tests only.
#ifndef PARAMD_SERVER_COORDINATOR_TESTING_CHECKPOINT_MACHINE_FIXTURE_H_
#define PARAMD_SERVER_COORDINATOR_TESTING_CHECKPOINT_MACHINE_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "server/coordinator/testing/job_machine_fixture.h"

namespace paramd {

class CheckpointMachineFixture : public JobMachineFixture {
 protected:
  static constexpr char kDirectory[] = "/out/job-1/checkpoints";

  CheckpointMachineFixture();

  // As the coordinator's tick, for checkpoints alone.
  void Tick();
  // About the checkpoint that is being taken.
  void ReportCheckpoint(const NodeRef& from, const std::function<void(v1::CheckpointReport&)>& fill);
  void ReportShards();
  // All there is to say about it; of what was removed meanwhile, too.
  void Commit(const std::vector<uint64_t>& removed = {});
  // The worker names the step as the one it can stop at, and stops there.
  void Stop(uint64_t step);
  // Placed again; the lead answers the search for a checkpoint with the one of this step.
  void Select(uint64_t step, const std::vector<std::string>& skipped = {});

  // "s0 take 10", ...
  std::vector<std::string> CheckpointCommands() const;
  // Of the checkpoints that are listed.
  std::vector<uint64_t> Steps() const;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TESTING_CHECKPOINT_MACHINE_FIXTURE_H_
