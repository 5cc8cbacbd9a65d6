// Optimizers as the servers run them: one fused pass over a run of elements of one parameter, element by element, with
// the arithmetic of torch.optim (its single-tensor CPU path): fp32 elements, scalars of the step computed in double and
// rounded to fp32 once.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Optimizer> optimizer, CreateOptimizer(spec.optimizer()));
//   std::vector<float> state(optimizer->state_count() * size);            // zeros
//   const UpdateStep step = optimizer->Prepare({.learning_rate = rate, .update = 1});
//   step.Run({.gradient = sum, .average = 1.0f / slots, .weights = old, .new_weights = now,
//             .state = state.data(), .state_stride = size, .size = size});
//
// What the optimizer sees as the gradient is (gradient[i] * average) * clip, two fp32 products in this order, so that
// an unclipped step (clip = 1) has exactly the averaged gradient.
//
// Deterministic: the same bits on any x86-64 machine, whatever its vector width and however the elements are divided.
// Stateless and thread safe; the state belongs to the caller.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_OPTIMIZER_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/cpu_info.h"
#include "proto/job.pb.h"
#include "server/store/optimizer/update_step.h"

namespace paramd {

// What a step of one parameter depends on besides its elements.
struct StepSettings {
  double learning_rate = 0;
  double weight_decay = 0;
  uint64_t update = 1;  // How many updates the elements have had, this one included: 1, 2, ...
};

// A step of a run of elements of one parameter; all spans have the same size. The rest as in ElementRun.
struct SegmentUpdate {
  absl::Span<const float> gradient;
  float average = 1;
  float clip = 1;
  absl::Span<const float> weights;
  absl::Span<float> new_weights;
  float* state = nullptr;
  int64_t state_stride = 0;
  double learning_rate = 0;
  double weight_decay = 0;
  uint64_t update = 1;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // What each state value is, e.g. {"m", "v"}: fp32 values kept per weight, zeros before the first update.
  virtual std::vector<std::string> state_names() const = 0;
  // `isa` must not exceed DetectIsa().
  virtual UpdateStep Prepare(const StepSettings& settings, Isa isa) const = 0;
  UpdateStep Prepare(const StepSettings& settings) const { return Prepare(settings, DetectIsa()); }
  // Prepares and runs: for those who do it once per parameter.
  void Update(const SegmentUpdate& update) const;

  int state_count() const { return static_cast<int>(state_names().size()); }
};

inline void Optimizer::Update(const SegmentUpdate& update) const {
  Prepare({.learning_rate = update.learning_rate, .weight_decay = update.weight_decay, .update = update.update})
      .Run({.gradient = reinterpret_cast<const char*>(update.gradient.data()),
            .average = update.average,
            .clip = update.clip,
            .weights = update.weights.data(),
            .new_weights = update.new_weights.data(),
            .state = update.state,
            .state_stride = update.state_stride,
            .size = static_cast<int64_t>(update.weights.size())});
}

// kInvalidArgument (INVALID_SPEC) when the type is not set or a coefficient is out of its range. Unset coefficients are
// zero, not defaults: the spec must have been filled.
absl::StatusOr<std::unique_ptr<const Optimizer>> CreateOptimizer(const v1::OptimizerSpec& spec);

// "adamw" for OPTIMIZER_TYPE_ADAMW and so on, for labels and messages.
std::string OptimizerName(v1::OptimizerType type);

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_OPTIMIZER_H_
