#include "server/store/optimizer/rmsprop.h"

#include <cmath>

#include "server/store/vectorized.h"

namespace paramd {

namespace {

struct Coefficients {
  float rho, one_minus_rho, epsilon, momentum;
};

PARAMD_VECTORIZED void UpdatePlain(const SegmentUpdate& update, const Coefficients c) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  float* square = update.state;
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const float rate = static_cast<float>(update.learning_rate), decay = static_cast<float>(update.weight_decay);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * average * clip + decay * weights[i];
    square[i] = square[i] * c.rho + c.one_minus_rho * g * g;
    new_weights[i] = weights[i] - rate * g / (std::sqrt(square[i]) + c.epsilon);
  }
}

PARAMD_VECTORIZED void UpdateMomentum(const SegmentUpdate& update, const Coefficients c) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  float* square = update.state;
  float* buffer = update.state + update.state_stride;
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const float rate = static_cast<float>(update.learning_rate), decay = static_cast<float>(update.weight_decay);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * average * clip + decay * weights[i];
    square[i] = square[i] * c.rho + c.one_minus_rho * g * g;
    buffer[i] = buffer[i] * c.momentum + g / (std::sqrt(square[i]) + c.epsilon);
    new_weights[i] = weights[i] - rate * buffer[i];
  }
}

}  // namespace

std::vector<std::string> RmsProp::state_names() const {
  if (momentum_ > 0) return {"square", "momentum"};
  return {"square"};
}

void RmsProp::Update(const SegmentUpdate& update) const {
  const Coefficients c = {static_cast<float>(rho_), static_cast<float>(1 - rho_), static_cast<float>(epsilon_),
                          static_cast<float>(momentum_)};
  if (momentum_ > 0) {
    UpdateMomentum(update, c);
  } else {
    UpdatePlain(update, c);
  }
}

}  // namespace paramd
