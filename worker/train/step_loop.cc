#include "worker/train/step_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "worker/train/evaluator.h"

namespace paramd {

StepLoop::StepLoop(const StepLoopOptions& options, Sampler sampler, StepLoopObserver& observer)
    : options_(options),
      sampler_(std::move(sampler)),
      observer_(observer),
      control_(options.spec.training().steps(), options.first_step),
      begun_(!options.joining),
      assignment_(IsSync(options.spec),
                  {.worker_index = options.worker_index, .workers = options.workers, .slots = options.slots}),
      exchange_({.spec = options.spec,
                 .plan = options.plan,
                 .slots = options.slots,
                 .client = options.client,
                 .memory = options.memory,
                 .codecs = options.codecs,
                 .trace = options.trace}) {}

void StepLoop::Cancel(const absl::Status& reason) {
  control_.Cancel(reason);
  options_.client.Cancel(reason);
}

absl::StatusOr<StepLoop::Result> StepLoop::Run() {
  const v1::TrainingSpec& training = options_.spec.training();
  start_ = absl::Now();
  uint64_t step = options_.first_step;
  if (options_.joining) {
    ASSIGN_OR_RETURN(step, Join());
    // At this boundary all evaluate as the workers of the step to come.
    const bool evaluate = training.evaluate_every() > 0 && step > 0 && step % training.evaluate_every() == 0;
    if (evaluate && assignment_.part().slots.count > 0 && step < training.steps()) {
      RETURN_IF_ERROR(RunEvaluation(step));
    }
  } else {
    RETURN_IF_ERROR(exchange_.PullWeights(step));
  }
  while (true) {
    ASSIGN_OR_RETURN(const bool go, control_.BeginStep(step));
    if (!go) break;
    RETURN_IF_ERROR(RunStep(step));
    ++step;
    if (step % std::max<uint32_t>(training.report_every(), 1) == 0 && step < training.steps()) ReportProgress(step);
    const bool evaluate = training.evaluate_every() > 0 && step % training.evaluate_every() == 0;
    if (evaluate && step < training.steps()) RETURN_IF_ERROR(RunEvaluation(step));
  }
  RETURN_IF_ERROR(WaitAtBoundary(step));
  RETURN_IF_ERROR(exchange_.Finish(step));
  RETURN_IF_ERROR(WaitAtBoundary(step));
  if (step > 0) EndTracedStep(step - 1);
  ReportProgress(step);
  const Result result = {.step = step, .stopped_early = step < training.steps()};
  // Who came when all steps were done has no slots: the others have divided the evaluation among themselves.
  if (!result.stopped_early && assignment_.part().slots.count > 0) RETURN_IF_ERROR(RunEvaluation(step));
  return result;
}

void StepLoop::EndTracedStep(uint64_t step) {
  if (options_.trace != nullptr) options_.trace->EndStep(step);
}

absl::Status StepLoop::RunStep(uint64_t step) {
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWorkerStep));
  if (options_.trace != nullptr) options_.trace->BeginStep(step);
  AdoptChange(step);
  assignment_.Enter(step);
  exchange_.BeginStep(step, assignment_.part().slots);
  StepReport report = {.step = step};
  double loss = 0;
  for (uint32_t i = 0; i < assignment_.part().slots.count;) {
    const absl::Status status = RunSlot(step, i, report, loss);
    if (IsInterrupted(status)) {  // In the first slot: the others wait for nothing.
      RETURN_IF_ERROR(OnInterrupted(step, step + 1));
      exchange_.SetSlots(assignment_.part().slots);
      continue;
    }
    RETURN_IF_ERROR(status);
    // The slot has waited for all weights of the step before: the last of its requests is answered.
    if (i == 0 && step > 0) EndTracedStep(step - 1);
    ++i;
  }
  uint32_t slots = assignment_.part().slots.count;
  RETURN_IF_ERROR(RunInherited(step, report, loss, slots));
  RETURN_IF_ERROR(exchange_.EndStep());
  PassFailpoint(Failpoint::kWorkerStepDone);
  exchange_.lane().Stop();
  report.push += exchange_.TakeTimes().push;
  report.loss = slots > 0 ? loss / slots : 0;
  report.non_finite_gradient = exchange_.non_finite_steps() > non_finite_steps_;
  non_finite_steps_ = exchange_.non_finite_steps();
  observer_.OnStep(report);

  ReportStep(report, loss, slots);
  return absl::OkStatus();
}

void StepLoop::ReportStep(StepReport& report, double loss, uint32_t slots) {
  v1::StepLoss& step_loss = *progress_.add_losses();
  step_loss.set_step(report.step);
  step_loss.set_loss_sum(loss);
  step_loss.set_slots(slots);
  progress_.set_samples(progress_.samples() + static_cast<uint64_t>(report.samples));
  progress_.set_tokens(progress_.tokens() + static_cast<uint64_t>(report.tokens));
  progress_.set_compute_seconds(progress_.compute_seconds() +
                                absl::ToDoubleSeconds(report.data + report.forward + report.backward));
}

absl::Status StepLoop::RunSlot(uint64_t step, uint32_t i, StepReport& report, double& loss) {
  const RunKey key = {.seed = options_.spec.seed(), .step = step, .slot = assignment_.part().slots.first + i};
  return ComputeSlot(key, exchange_.weights(), exchange_.BeginSlot(i), report, loss);
}

absl::Status StepLoop::ComputeSlot(const RunKey& key, absl::Span<const float> weights, absl::Span<float> gradients,
                                   StepReport& report, double& loss) {
  const absl::Time begin = absl::Now();
  exchange_.lane().Switch("data", key.step);
  sampler_.SamplesOf(key.step, key.slot, samples_);
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWorkerDataRead));
  RETURN_IF_ERROR(options_.data.Fill(Dataset::Split::kTrain, samples_, batch_));
  const absl::Time filled = absl::Now();
  exchange_.lane().Switch("forward", key.step);
  ASSIGN_OR_RETURN(const LossSums sums,
                   options_.program.ForwardBackward(batch_, key, weights, gradients, exchange_, exchange_));
  const absl::Time end = absl::Now();
  const ChunkExchange::Times times = exchange_.TakeTimes();
  const absl::Time turn = std::min(exchange_.first_gradient(), end);
  report.data += filled - begin;
  report.pull += times.pull;
  report.push += times.push;
  report.forward += turn - filled - times.pull;
  report.backward += end - turn - times.push;
  report.samples += batch_.examples;
  report.tokens += sums.count;
  const double mean = sums.count > 0 ? sums.loss_sum / static_cast<double>(sums.count) : 0;
  loss += mean;
  if (std::isfinite(mean)) return absl::OkStatus();
  report.non_finite_loss = true;
  if (options_.spec.optimizer().non_finite() == v1::NON_FINITE_POLICY_SKIP) return absl::OkStatus();
  observer_.OnStep(report);  // Counted, although the step ends here.
  return MakeError(absl::StatusCode::kInvalidArgument, "NON_FINITE_LOSS",
                   absl::StrCat("loss of step ", key.step, " slot ", key.slot, " is ", mean),
                   {{"step", absl::StrCat(key.step)}, {"slot", absl::StrCat(key.slot)}});
}

absl::Status StepLoop::RunEvaluation(uint64_t step) {
  if (options_.data.validation_samples() == 0) return absl::OkStatus();
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWorkerEvaluate));
  exchange_.lane().Switch("evaluate", step);
  RETURN_IF_ERROR(WaitAtBoundary(step));
  const WorkerPart& part = assignment_.part();
  const absl::Time begin = absl::Now();
  const v1::TrainingSpec& training = options_.spec.training();
  const EvaluatorOptions evaluator = {.worker_index = part.worker_index,
                                      .workers = part.workers,
                                      .batch_size = training.micro_batch(),
                                      .max_batches = training.evaluation_batches()};
  ASSIGN_OR_RETURN(v1::Evaluation evaluation,
                   Evaluate(evaluator, step, options_.data, options_.program, exchange_.weights(),
                            [this] { return options_.client.status(); }));
  evaluation.set_share(part.worker_index);
  evaluation.set_shares(part.workers);
  exchange_.lane().Stop();
  evaluating_ += absl::Now() - begin;
  observer_.OnEvaluation(evaluation);
  return absl::OkStatus();
}

void StepLoop::ReportProgress(uint64_t steps_done) {
  progress_.set_step(steps_done);
  progress_.set_training_seconds(absl::ToDoubleSeconds(absl::Now() - start_ - evaluating_));
  observer_.OnProgress(progress_);
  progress_.clear_losses();
}

}  // namespace paramd
