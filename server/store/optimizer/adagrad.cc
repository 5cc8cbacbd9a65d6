#include "server/store/optimizer/adagrad.h"

#include <cmath>

#include "server/store/vectorized.h"

namespace paramd {

namespace {

PARAMD_VECTORIZED void UpdateAdagrad(const SegmentUpdate& update, float epsilon) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  float* sum = update.state;
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const float rate = static_cast<float>(update.learning_rate), decay = static_cast<float>(update.weight_decay);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * average * clip + decay * weights[i];
    sum[i] = sum[i] + g * g;
    new_weights[i] = weights[i] - rate * g / (std::sqrt(sum[i]) + epsilon);
  }
}

}  // namespace

void Adagrad::Update(const SegmentUpdate& update) const { UpdateAdagrad(update, epsilon_); }

}  // namespace paramd
