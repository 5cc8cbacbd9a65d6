#include "server/store/optimizer/sgd.h"

#include "server/store/vectorized.h"

namespace paramd {

namespace {

PARAMD_VECTORIZED void UpdatePlain(const SegmentUpdate& update) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const float rate = static_cast<float>(update.learning_rate), decay = static_cast<float>(update.weight_decay);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * average * clip + decay * weights[i];
    new_weights[i] = weights[i] - rate * g;
  }
}

PARAMD_VECTORIZED void UpdateMomentum(const SegmentUpdate& update, float momentum) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  float* buffer = update.state;
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const float rate = static_cast<float>(update.learning_rate), decay = static_cast<float>(update.weight_decay);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * average * clip + decay * weights[i];
    buffer[i] = momentum * buffer[i] + g;
    new_weights[i] = weights[i] - rate * buffer[i];
  }
}

PARAMD_VECTORIZED void UpdateNesterov(const SegmentUpdate& update, float momentum) {
  const float* gradient = update.gradient.data();
  const float* weights = update.weights.data();
  float* new_weights = update.new_weights.data();
  float* buffer = update.state;
  const int64_t size = static_cast<int64_t>(update.weights.size());
  const float average = update.average, clip = update.clip;
  const float rate = static_cast<float>(update.learning_rate), decay = static_cast<float>(update.weight_decay);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * average * clip + decay * weights[i];
    buffer[i] = momentum * buffer[i] + g;
    new_weights[i] = weights[i] - rate * (g + momentum * buffer[i]);
  }
}

}  // namespace

void Sgd::Update(const SegmentUpdate& update) const { UpdatePlain(update); }

void MomentumSgd::Update(const SegmentUpdate& update) const {
  if (nesterov_) {
    UpdateNesterov(update, momentum_);
  } else {
    UpdateMomentum(update, momentum_);
  }
}

}  // namespace paramd
