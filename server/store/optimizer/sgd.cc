#include "server/store/optimizer/sgd.h"

namespace paramd {

namespace {

struct PlainRule {
  static constexpr int kStates = 0;
  float rate, decay;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float g = gradient + decay * weight;
    return weight - rate * g;
  }
};

struct MomentumRule {
  static constexpr int kStates = 1;
  float rate, decay, momentum;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float g = gradient + decay * weight;
    state[0] = momentum * state[0] + g;
    return weight - rate * state[0];
  }
};

struct NesterovRule {
  static constexpr int kStates = 1;
  float rate, decay, momentum;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float g = gradient + decay * weight;
    state[0] = momentum * state[0] + g;
    return weight - rate * (g + momentum * state[0]);
  }
};

}  // namespace

UpdateStep Sgd::Prepare(const StepSettings& settings, Isa isa) const {
  return MakeUpdateStep(
      PlainRule{.rate = static_cast<float>(settings.learning_rate), .decay = static_cast<float>(settings.weight_decay)},
      isa);
}

UpdateStep MomentumSgd::Prepare(const StepSettings& settings, Isa isa) const {
  const float rate = static_cast<float>(settings.learning_rate), decay = static_cast<float>(settings.weight_decay);
  if (nesterov_) return MakeUpdateStep(NesterovRule{.rate = rate, .decay = decay, .momentum = momentum_}, isa);
  return MakeUpdateStep(MomentumRule{.rate = rate, .decay = decay, .momentum = momentum_}, isa);
}

}  // namespace paramd
