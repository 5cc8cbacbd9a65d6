#include "server/store/optimizer/adagrad.h"

#include <cmath>

namespace paramd {

namespace {

struct Rule {
  static constexpr int kStates = 1;
  float rate, decay, epsilon;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float g = gradient + decay * weight;
    state[0] = state[0] + g * g;
    return weight - rate * g / (std::sqrt(state[0]) + epsilon);
  }
};

}  // namespace

UpdateStep Adagrad::Prepare(const StepSettings& settings, Isa isa) const {
  return MakeUpdateStep(Rule{.rate = static_cast<float>(settings.learning_rate),
                             .decay = static_cast<float>(settings.weight_decay),
                             .epsilon = epsilon_},
                        isa);
}

}  // namespace paramd
