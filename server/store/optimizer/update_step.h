// An optimizer's step of one parameter, ready to run over runs of its elements: the scalars of the step and the loop
// for one instruction set.
//
//   struct SgdRule {                                   // The arithmetic of one element.
//     static constexpr int kStates = 0;
//     float rate;
//     PARAMD_ELEMENTWISE float operator()(float g, float w, float* state) const { return w - rate * g; }
//   };
//   UpdateStep step = MakeUpdateStep(SgdRule{.rate = 0.1f}, DetectIsa());
//   step.Run({.gradient = bytes, .weights = old, .new_weights = now, .size = 4096});
//
// The compiler vectorises the loop around the rule once for each instruction set. All of them give the same bits: there
// are no reductions across elements, contraction to fused multiply-add is off for the whole tree, and IEEE 754 add,
// multiply, divide and square root are exact to the last bit at any vector width.
//
// Immutable value; thread safe.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_UPDATE_STEP_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_UPDATE_STEP_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/base/cpu_info.h"

#define PARAMD_ELEMENTWISE __attribute__((always_inline)) inline

namespace paramd {

// A run of elements of one parameter.
struct ElementRun {
  const char* gradient = nullptr;  // Sum over the slots: little-endian fp32 at any address.
  float average = 1;               // 1 / slots.
  float clip = 1;                  // Factor of gradient clipping.
  const float* weights = nullptr;  // Before.
  float* new_weights = nullptr;    // After; `weights` itself, or apart from it.
  // State value k of element i is state[k * state_stride + i].
  float* state = nullptr;
  int64_t state_stride = 0;
  int64_t size = 0;
};

class UpdateStep {
 public:
  void Run(const ElementRun& run) const { loop_(run, rule_); }

 private:
  template <typename Rule>
  friend UpdateStep MakeUpdateStep(const Rule& rule, Isa isa);

  void (*loop_)(const ElementRun& run, const std::byte* rule) = nullptr;
  alignas(float) std::byte rule_[12 * sizeof(float)];
};

namespace update_step_internal {

template <typename Rule>
PARAMD_ELEMENTWISE void Loop(const ElementRun& run, const std::byte* bytes) {
  Rule rule;
  std::memcpy(&rule, bytes, sizeof(rule));
  const char* gradient = run.gradient;
  const float* weights = run.weights;
  float* new_weights = run.new_weights;
  float* first_state = run.state;
  float* second_state = Rule::kStates > 1 ? run.state + run.state_stride : nullptr;
  const float average = run.average, clip = run.clip;
  const int64_t size = run.size;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    float sum;
    std::memcpy(&sum, gradient + i * sizeof(float), sizeof(float));
    float state[2] = {};
    if constexpr (Rule::kStates > 0) state[0] = first_state[i];
    if constexpr (Rule::kStates > 1) state[1] = second_state[i];
    new_weights[i] = rule(sum * average * clip, weights[i], state);
    if constexpr (Rule::kStates > 0) first_state[i] = state[0];
    if constexpr (Rule::kStates > 1) second_state[i] = state[1];
  }
}

template <typename Rule>
__attribute__((optimize("O3"))) void LoopPortable(const ElementRun& run, const std::byte* rule) {
  Loop<Rule>(run, rule);
}

template <typename Rule>
__attribute__((optimize("O3"), target("avx2"))) void LoopAvx2(const ElementRun& run, const std::byte* rule) {
  Loop<Rule>(run, rule);
}

template <typename Rule>
__attribute__((optimize("O3"), target("avx512f,prefer-vector-width=512"))) void LoopAvx512(const ElementRun& run,
                                                                                           const std::byte* rule) {
  Loop<Rule>(run, rule);
}

}  // namespace update_step_internal

// `isa` must not exceed DetectIsa().
template <typename Rule>
UpdateStep MakeUpdateStep(const Rule& rule, Isa isa) {
  static_assert(std::is_trivially_copyable_v<Rule> && sizeof(Rule) <= sizeof(UpdateStep::rule_));
  UpdateStep step;
  step.loop_ = isa == Isa::kAvx512 ? update_step_internal::LoopAvx512<Rule>
               : isa == Isa::kAvx2 ? update_step_internal::LoopAvx2<Rule>
                                   : update_step_internal::LoopPortable<Rule>;
  std::memcpy(step.rule_, &rule, sizeof(rule));
  return step;
}

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_UPDATE_STEP_H_
