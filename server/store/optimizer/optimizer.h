// Optimizers as the servers run them: one fused pass over a segment of one parameter, element by element, with the
// arithmetic of torch.optim (its single-tensor CPU path): fp32 elements, scalars of the step computed in double and
// rounded to fp32 once.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Optimizer> optimizer, CreateOptimizer(spec.optimizer()));
//   std::vector<float> state(optimizer->state_count() * size);            // zeros
//   optimizer->Update({.gradient = sum, .average = 1.0f / slots, .weights = old, .new_weights = now,
//                      .state = state.data(), .state_stride = size, .learning_rate = rate, .update = 1});
//
// What the optimizer sees as the gradient is (gradient[i] * average) * clip, two fp32 products in this order, so that
// an unclipped step (clip = 1) has exactly the averaged gradient.
//
// Deterministic: the same bits on any x86-64 machine, whatever its vector width. Stateless and thread safe; the state
// belongs to the caller.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_OPTIMIZER_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/job.pb.h"

namespace paramd {

// One optimizer step of a run of elements of one parameter. All spans have the same size.
struct SegmentUpdate {
  absl::Span<const float> gradient;  // Sum over the slots.
  float average = 1;                 // 1 / slots.
  float clip = 1;                    // Factor of gradient clipping.
  absl::Span<const float> weights;   // Before.
  absl::Span<float> new_weights;     // After; may be the same memory as `weights`, but not overlap it otherwise.
  // State value k of element i is state[k * state_stride + i]; zeros before the first update.
  float* state = nullptr;
  int64_t state_stride = 0;
  double learning_rate = 0;
  double weight_decay = 0;
  uint64_t update = 1;  // How many updates these elements have had, this one included: 1, 2, ...
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // What each state value is, e.g. {"m", "v"}: fp32 values kept per weight.
  virtual std::vector<std::string> state_names() const = 0;
  virtual void Update(const SegmentUpdate& update) const = 0;

  int state_count() const { return static_cast<int>(state_names().size()); }
};

// kInvalidArgument (INVALID_SPEC) when the type is not set or a coefficient is out of its range. Unset coefficients are
// zero, not defaults: the spec must have been filled.
absl::StatusOr<std::unique_ptr<const Optimizer>> CreateOptimizer(const v1::OptimizerSpec& spec);

// "adamw" for OPTIMIZER_TYPE_ADAMW and so on, for labels and messages.
std::string OptimizerName(v1::OptimizerType type);

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_OPTIMIZER_H_
