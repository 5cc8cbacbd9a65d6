#include "server/store/optimizer/adam.h"

#include <cmath>

namespace paramd {

namespace {

struct Coefficients {
  float l2_decay;      // Added to the gradient times the weight.
  float weight_scale;  // 1 - lr * weight decay when decoupled, else 1.
  float one_minus_beta1, beta1;
  float beta2, one_minus_beta2;
  float step_size;   // lr / bias correction 1.
  float bias2_sqrt;  // sqrt(bias correction 2).
  float epsilon;
};

// torch.lerp switches its formula at weight 0.5 (1 - beta1 >= 0.5 means beta1 <= 0.5).
template <bool kLerpFromStart>
struct Rule {
  static constexpr int kStates = 2;
  Coefficients c;

  PARAMD_ELEMENTWISE float operator()(float gradient, float weight, float* state) const {
    const float w = weight * c.weight_scale;
    const float g = gradient + c.l2_decay * w;
    const float difference = g - state[0];
    state[0] = kLerpFromStart ? state[0] + c.one_minus_beta1 * difference : g - difference * c.beta1;
    state[1] = state[1] * c.beta2 + c.one_minus_beta2 * g * g;
    return w - c.step_size * state[0] / (std::sqrt(state[1]) / c.bias2_sqrt + c.epsilon);
  }
};

}  // namespace

UpdateStep Adam::Prepare(const StepSettings& settings, Isa isa) const {
  const double t = static_cast<double>(settings.update);
  const double bias1 = 1 - std::pow(beta1_, t);
  const double bias2 = 1 - std::pow(beta2_, t);
  Coefficients c;
  c.l2_decay = static_cast<float>(decoupled_decay_ ? 0 : settings.weight_decay);
  c.weight_scale = static_cast<float>(decoupled_decay_ ? 1 - settings.learning_rate * settings.weight_decay : 1);
  c.one_minus_beta1 = static_cast<float>(1 - beta1_);
  c.beta1 = 1.0f - c.one_minus_beta1;
  c.beta2 = static_cast<float>(beta2_);
  c.one_minus_beta2 = static_cast<float>(1 - beta2_);
  c.step_size = static_cast<float>(settings.learning_rate / bias1);
  c.bias2_sqrt = static_cast<float>(std::sqrt(bias2));
  c.epsilon = static_cast<float>(epsilon_);
  return c.one_minus_beta1 < 0.5f ? MakeUpdateStep(Rule<true>{c}, isa) : MakeUpdateStep(Rule<false>{c}, isa);
}

}  // namespace paramd
