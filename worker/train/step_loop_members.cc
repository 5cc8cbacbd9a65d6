// The step loop while the job's workers change.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "worker/train/step_loop.h"

namespace paramd {

void StepLoop::Change(const WorkerChange& change) {
  {
    absl::MutexLock lock(&change_mutex_);
    control_.NotBefore(begun_ ? change.step : FirstStepWith(change));  // Nobody is behind the job's open step.
    change_ = change;
  }
  // Whatever the loop waits for may depend on what it has just been given.
  options_.client.Interrupt();
}

void StepLoop::AdoptChange(uint64_t next_step) {
  std::optional<WorkerChange> change;
  {
    absl::MutexLock lock(&change_mutex_);
    change.swap(change_);
  }
  if (change.has_value()) assignment_.Apply(*change, next_step);
}

absl::Status StepLoop::OnInterrupted(uint64_t step, uint64_t next_step) {
  options_.client.EndInterrupt();  // First: news that come from here on interrupt again.
  AdoptChange(next_step);
  if (step > 0 && LacksWeights(step)) {
    return MakeError(absl::StatusCode::kAborted, "REJOIN",
                     absl::StrCat("slots of step ", step - 1, " are to be taken over, and training began at ", step));
  }
  if (step > 0) {
    StepReport report = {.step = step - 1};
    double loss = 0;
    uint32_t slots = 0;
    RETURN_IF_ERROR(RunInherited(step - 1, report, loss, slots));
    if (slots > 0) ReportStep(report, loss, slots);
  }
  assignment_.Enter(step);
  return absl::OkStatus();
}

absl::Status StepLoop::RunInherited(uint64_t step, StepReport& report, double& loss, uint32_t& slots) {
  while (true) {
    AdoptChange(step + 1);
    const std::optional<uint32_t> slot = assignment_.NextInherited(step);
    if (!slot.has_value()) return absl::OkStatus();
    const absl::Span<float> gradients = exchange_.BeginInherited(step, *slot);
    const absl::Status status = ComputeSlot({.seed = options_.spec.seed(), .step = step, .slot = *slot},
                                            exchange_.inherited_weights(), gradients, report, loss);
    if (IsInterrupted(status)) {  // It waited for weights: none of it has been pushed.
      options_.client.EndInterrupt();
      continue;
    }
    RETURN_IF_ERROR(status);
    RETURN_IF_ERROR(exchange_.EndInherited());
    assignment_.Done(step, *slot);
    ++slots;
  }
}

absl::Status StepLoop::WaitAtBoundary(uint64_t step) {
  while (true) {
    const absl::Status status = exchange_.WaitForAll();
    if (!IsInterrupted(status)) {
      RETURN_IF_ERROR(status);
      break;
    }
    RETURN_IF_ERROR(OnInterrupted(step, step));
  }
  // All weights are there: who evaluates what depends on the workers of the step to come.
  AdoptChange(step);
  assignment_.Enter(step);
  return absl::OkStatus();
}

uint64_t StepLoop::FirstStepWith(const WorkerChange& change) const {
  // What it inherits of the open step is done with that step's weights; without any it begins with the next step.
  const bool inherits = !change.inherited.empty();
  const uint64_t step = !IsSync(options_.spec) ? change.first_clock : inherits ? change.step : change.step + 1;
  return std::min<uint64_t>(step, options_.spec.training().steps());
}

absl::StatusOr<uint64_t> StepLoop::Join() {
  std::optional<WorkerChange> change;
  {
    absl::MutexLock lock(&change_mutex_);
    change.swap(change_);
    begun_ = change.has_value();
  }
  if (!change.has_value()) return absl::FailedPreconditionError("a worker that joins has no slots yet");
  const uint64_t step = FirstStepWith(*change);
  joined_at_ = step;
  assignment_.Apply(*change, step);
  assignment_.Enter(step);
  // The weights of a step that is inherited from are older than those of some chunks by now.
  RETURN_IF_ERROR(exchange_.PullWeights(step, IsSync(options_.spec) && !change->inherited.empty()));
  return step;
}

}  // namespace paramd
