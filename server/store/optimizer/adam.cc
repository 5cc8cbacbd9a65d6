#include "server/store/optimizer/adam.h"

#include <cmath>

#include "server/store/vectorized.h"

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
PARAMD_VECTORIZED void UpdateAdam(const SegmentUpdate& update, const Coefficients c) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  float* m = update.state;
  float* v = update.state + update.state_stride;
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const bool lerp_from_start = c.one_minus_beta1 < 0.5f;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float w = weights[i] * c.weight_scale;
    const float g = gradient[i] * average * clip + c.l2_decay * w;
    const float difference = g - m[i];
    const float mean = lerp_from_start ? m[i] + c.one_minus_beta1 * difference : g - difference * c.beta1;
    const float square = v[i] * c.beta2 + c.one_minus_beta2 * g * g;
    m[i] = mean;
    v[i] = square;
    new_weights[i] = w - c.step_size * mean / (std::sqrt(square) / c.bias2_sqrt + c.epsilon);
  }
}

}  // namespace

void Adam::Update(const SegmentUpdate& update) const {
  const double t = static_cast<double>(update.update);
  const double bias1 = 1 - std::pow(beta1_, t);
  const double bias2 = 1 - std::pow(beta2_, t);
  Coefficients c;
  c.l2_decay = static_cast<float>(decoupled_decay_ ? 0 : update.weight_decay);
  c.weight_scale = static_cast<float>(decoupled_decay_ ? 1 - update.learning_rate * update.weight_decay : 1);
  c.one_minus_beta1 = static_cast<float>(1 - beta1_);
  c.beta1 = 1.0f - c.one_minus_beta1;
  c.beta2 = static_cast<float>(beta2_);
  c.one_minus_beta2 = static_cast<float>(1 - beta2_);
  c.step_size = static_cast<float>(update.learning_rate / bias1);
  c.bias2_sqrt = static_cast<float>(std::sqrt(bias2));
  c.epsilon = static_cast<float>(epsilon_);
  UpdateAdam(update, c);
}

}  // namespace paramd
