#include "server/store/optimizer/rmsprop.h"

#include <cmath>

namespace paramd {

namespace {

struct Coefficients {
  float rate, decay, rho, one_minus_rho, epsilon, momentum;
};

struct PlainRule {
  static constexpr int kStates = 1;
  Coefficients c;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float g = gradient + c.decay * weight;
    state[0] = state[0] * c.rho + c.one_minus_rho * g * g;
    return weight - c.rate * g / (std::sqrt(state[0]) + c.epsilon);
  }
};

struct MomentumRule {
  static constexpr int kStates = 2;
  Coefficients c;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float g = gradient + c.decay * weight;
    state[0] = state[0] * c.rho + c.one_minus_rho * g * g;
    state[1] = state[1] * c.momentum + g / (std::sqrt(state[0]) + c.epsilon);
    return weight - c.rate * state[1];
  }
};

}  // namespace

std::vector<std::string> RmsProp::state_names() const {
  if (momentum_ > 0) return {"square", "momentum"};
  return {"square"};
}

UpdateStep RmsProp::Prepare(const StepSettings& settings, Isa isa) const {
  const Coefficients c = {.rate = static_cast<float>(settings.learning_rate),
                          .decay = static_cast<float>(settings.weight_decay),
                          .rho = static_cast<float>(rho_),
                          .one_minus_rho = static_cast<float>(1 - rho_),
                          .epsilon = static_cast<float>(epsilon_),
                          .momentum = static_cast<float>(momentum_)};
  return momentum_ > 0 ? MakeUpdateStep(MomentumRule{c}, isa) : MakeUpdateStep(PlainRule{c}, isa);
}

}  // namespace paramd
