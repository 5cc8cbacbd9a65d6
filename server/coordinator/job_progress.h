// Adds up what the workers and servers of one running job say about its progress.
//
//   ProgressTracker tracker(record);
//   tracker.OnWorkerProgress(worker_index, report.progress());   // updates record.job.progress
//
// The loss of a step is the sum of the workers' loss sums over the number of slots, once all slots are reported; in
// every sync mode a worker's step is its clock. Sums are absolute (since the job's start) in the reports, so a lost
// report or a restart of the coordinator only delays them; a step whose losses were lost has no loss, the next one has.
// A pure core; not thread safe. Bounded: at most kMaxOpenSteps steps wait for slow workers.
#ifndef PARAMD_SERVER_COORDINATOR_JOB_PROGRESS_H_
#define PARAMD_SERVER_COORDINATOR_JOB_PROGRESS_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/time/time.h"
#include "proto/cluster.pb.h"
#include "server/coordinator/job_record.pb.h"

namespace paramd {

class ProgressTracker {
 public:
  static constexpr size_t kMaxOpenSteps = 16384;

  // For a placed job. Does not keep the record.
  explicit ProgressTracker(const coordinator::JobRecord& record);

  // `index` is the reporter's in the placement, and must be valid.
  void OnWorkerProgress(int index, const v1::WorkerProgress& report, absl::Time now, coordinator::JobRecord& record);
  // Other workers from now on; what those that left have done still counts.
  void ChangeWorkers(const v1::Placement& before, const v1::Placement& after);
  // How fast each worker computes slots, waits excluded, over its last seconds of that; 0: not known yet.
  std::vector<double> SlotsPerSecond() const;
  void OnServerProgress(int index, const v1::ServerProgress& report, absl::Time now, coordinator::JobRecord& record);

 private:
  struct StepSum {
    double loss_sum = 0;
    uint64_t slots = 0;
  };

  struct Worker {
    bool reported = false;
    uint64_t step = 0;
    uint64_t samples = 0;
    uint64_t tokens = 0;
    double training_seconds = 0;
    uint64_t next_loss_step = 0;  // Losses of earlier steps are repetitions.
    // Of its speed: where the measurement at hand began, and what the last one gave.
    uint64_t samples_then = 0;
    double compute_seconds_then = 0;
    double samples_per_second = 0;
  };
  static void Measure(const v1::WorkerProgress& report, Worker& worker);

  void AddLosses(Worker& worker, const v1::WorkerProgress& report, coordinator::JobRecord& record);
  void SumWorkers(coordinator::JobRecord& record) const;

  const uint64_t slots_;
  const double micro_batch_;
  const bool counts_samples_;  // Throughput is in samples (classifiers) instead of tokens.
  std::vector<Worker> workers_;
  uint64_t departed_samples_ = 0;
  uint64_t departed_tokens_ = 0;
  std::map<uint64_t, StepSum> open_steps_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_JOB_PROGRESS_H_
