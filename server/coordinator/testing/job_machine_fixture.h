// A JobMachine's record, and the effects of everything done to it, for tests of the machine.
//
//   class MyTest : public JobMachineFixture {
//    protected:
//     MyTest() : JobMachineFixture({.workers = 3, .slots = 6}) { Submit(); }
//   };
//
// The job is job-1 of 100 steps, on servers s0, s1 and workers w0, w1, ... with slots in equal parts. Tests only.
#ifndef PARAMD_SERVER_COORDINATOR_TESTING_JOB_MACHINE_FIXTURE_H_
#define PARAMD_SERVER_COORDINATOR_TESTING_JOB_MACHINE_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/coordinator/job_machine.h"

namespace paramd {

struct FixtureJob {
  int workers = 2;
  uint32_t slots = 4;
};

class JobMachineFixture : public testing::Test {
 protected:
  explicit JobMachineFixture(const FixtureJob& job);

  void Do(const std::function<void(JobMachine&)>& change);
  // Time goes by, and the machine is ticked in all ways the coordinator does.
  void After(absl::Duration duration);

  static NodeRef Server(int i);
  static NodeRef Worker(int i = 0);

  void Submit();
  void Place();
  void Prepared(const NodeRef& from);
  // Placed, if it is not yet, and all prepared.
  void Train();
  // Of the job's present generation.
  void Report(const NodeRef& from, const std::function<void(v1::JobReport&)>& fill);
  void ReportOf(uint64_t generation, const NodeRef& from, const std::function<void(v1::JobReport&)>& fill);
  void Finished(int worker, uint64_t step);
  void StopPoint(int worker, uint64_t step);
  void Released(const NodeRef& from);
  void ReleaseAll();
  void Lose(const NodeRef& node);
  absl::Status Cancel(bool save);

  const v1::Job& job() const { return record_.job(); }
  int Events(const std::string& reason) const;
  bool HasEvent(const std::string& reason) const { return Events(reason) > 0; }
  std::string LastEvent() const { return events_.empty() ? "" : events_.back().reason(); }
  // Node ids of the last commands, in order, with the kind: "s0:prepare_server".
  std::vector<std::string> Commands() const;

  const FixtureJob size_;
  JobMachineOptions options_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  coordinator::JobRecord record_;
  JobEffects last_;
  std::vector<v1::JobEvent> events_;      // All.
  std::vector<JobCommand> all_commands_;  // In the order they were sent.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TESTING_JOB_MACHINE_FIXTURE_H_
