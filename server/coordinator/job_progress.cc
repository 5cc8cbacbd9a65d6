#include "server/coordinator/job_progress.h"

#include <algorithm>

#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

constexpr double kMeasuredSeconds = 2;  // Of computing, for one measurement of a worker's speed.

}  // namespace

ProgressTracker::ProgressTracker(const coordinator::JobRecord& record)
    : slots_(record.job().spec().training().slots()),
      micro_batch_(record.job().spec().training().micro_batch()),
      counts_samples_(record.job().spec().model().has_mlp()),
      workers_(record.job().placement().workers_size()) {}

void ProgressTracker::OnWorkerProgress(int index, const v1::WorkerProgress& report, absl::Time now,
                                       coordinator::JobRecord& record) {
  Worker& worker = workers_[index];
  worker.reported = true;
  worker.step = std::max<uint64_t>(worker.step, report.step());
  worker.samples = std::max<uint64_t>(worker.samples, report.samples());
  worker.tokens = std::max<uint64_t>(worker.tokens, report.tokens());
  worker.training_seconds = std::max(worker.training_seconds, report.training_seconds());
  Measure(report, worker);
  AddLosses(worker, report, record);
  SumWorkers(record);
  v1::JobProgress& progress = *record.mutable_job()->mutable_progress();
  *progress.mutable_update_time() = ToTimestamp(now);
}

void ProgressTracker::Measure(const v1::WorkerProgress& report, Worker& worker) {
  const double seconds = report.compute_seconds() - worker.compute_seconds_then;
  if (seconds < kMeasuredSeconds || report.samples() <= worker.samples_then) return;
  worker.samples_per_second = static_cast<double>(report.samples() - worker.samples_then) / seconds;
  worker.samples_then = report.samples();
  worker.compute_seconds_then = report.compute_seconds();
}

std::vector<double> ProgressTracker::SlotsPerSecond() const {
  std::vector<double> speeds;
  for (const Worker& worker : workers_) speeds.push_back(worker.samples_per_second / std::max(1.0, micro_batch_));
  return speeds;
}

void ProgressTracker::ChangeWorkers(const v1::Placement& before, const v1::Placement& after) {
  std::vector<Worker> workers(after.workers_size());
  for (int i = 0; i < before.workers_size() && i < static_cast<int>(workers_.size()); ++i) {
    const auto same = std::find_if(after.workers().begin(), after.workers().end(), [&](const v1::WorkerPlacement& w) {
      return w.node_id() == before.workers(i).node_id() && w.incarnation() == before.workers(i).incarnation() &&
             w.joined_generation() == before.workers(i).joined_generation();
    });
    if (same != after.workers().end()) {
      workers[same - after.workers().begin()] = workers_[i];
    } else {
      departed_samples_ += workers_[i].samples;
      departed_tokens_ += workers_[i].tokens;
    }
  }
  workers_ = std::move(workers);
}

void ProgressTracker::AddLosses(Worker& worker, const v1::WorkerProgress& report, coordinator::JobRecord& record) {
  for (const v1::StepLoss& loss : report.losses()) {
    if (loss.step() < worker.next_loss_step) continue;
    worker.next_loss_step = loss.step() + 1;
    if (open_steps_.size() >= kMaxOpenSteps && !open_steps_.contains(loss.step())) continue;
    StepSum& sum = open_steps_[loss.step()];
    sum.loss_sum += loss.loss_sum();
    sum.slots += loss.slots();
    if (sum.slots < slots_) continue;
    const double mean = sum.loss_sum / static_cast<double>(sum.slots);
    v1::JobProgress& progress = *record.mutable_job()->mutable_progress();
    if (loss.step() == 0 || !record.has_first_loss()) progress.set_first_loss(mean);
    record.set_has_first_loss(true);
    progress.set_loss(mean);
    // Steps before the newest complete one can no longer matter.
    open_steps_.erase(open_steps_.begin(), open_steps_.upper_bound(loss.step()));
  }
}

void ProgressTracker::SumWorkers(coordinator::JobRecord& record) const {
  v1::JobProgress& progress = *record.mutable_job()->mutable_progress();
  uint64_t slowest = UINT64_MAX;
  uint64_t samples = departed_samples_;
  uint64_t tokens = departed_tokens_;
  double seconds = 0;
  for (const Worker& worker : workers_) {
    slowest = std::min(slowest, worker.reported ? worker.step : 0);
    samples += worker.samples;
    tokens += worker.tokens;
    seconds = std::max(seconds, worker.training_seconds);
  }
  // After a restart of the coordinator the sums start small again; what was known before still holds.
  progress.set_step(std::max<uint64_t>(progress.step(), slowest));
  progress.set_samples(std::max<uint64_t>(progress.samples(), record.base_samples() + samples));
  progress.set_tokens(std::max<uint64_t>(progress.tokens(), record.base_tokens() + tokens));
  const uint64_t counted = counts_samples_ ? samples : tokens;
  const bool all = std::all_of(workers_.begin(), workers_.end(), [](const Worker& w) { return w.reported; });
  if (all && seconds > 0) progress.set_tokens_per_second(static_cast<double>(counted) / seconds);
}

void ProgressTracker::OnServerProgress(int index, const v1::ServerProgress& report, absl::Time now,
                                       coordinator::JobRecord& record) {
  v1::JobProgress& progress = *record.mutable_job()->mutable_progress();
  // Every server counts what it skips; in sync mode all skip the same steps, so the highest count is the job's.
  progress.set_non_finite_skipped(std::max<uint64_t>(progress.non_finite_skipped(), report.non_finite_skipped()));
  if (index == 0) {
    progress.set_gradient_norm(report.gradient_norm());
    progress.set_learning_rate(report.learning_rate());
  }
  *progress.mutable_update_time() = ToTimestamp(now);
}

}  // namespace paramd
