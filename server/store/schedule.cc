#include "server/store/schedule.h"

#include <algorithm>
#include <cmath>

namespace paramd {

namespace {
constexpr double kPi = 3.14159265358979323846;
}  // namespace

Schedule::Schedule(const v1::OptimizerSpec& optimizer, uint64_t total_steps)
    : type_(optimizer.schedule().type()),
      learning_rate_(optimizer.learning_rate()),
      minimum_ratio_(optimizer.schedule().minimum_ratio()),
      warmup_(optimizer.schedule().warmup_steps()),
      decay_(optimizer.schedule().decay_steps() > 0 ? optimizer.schedule().decay_steps() : total_steps) {}

double Schedule::Progress(uint64_t step) const {
  if (decay_ <= warmup_ || step >= decay_) return 1;
  return static_cast<double>(step - warmup_) / static_cast<double>(decay_ - warmup_);
}

double Schedule::LearningRate(uint64_t step) const {
  if (step < warmup_) return learning_rate_ * static_cast<double>(step + 1) / static_cast<double>(warmup_);
  switch (type_) {
    case v1::SCHEDULE_TYPE_LINEAR:
      return learning_rate_ * (1 - (1 - minimum_ratio_) * Progress(step));
    case v1::SCHEDULE_TYPE_COSINE:
      return learning_rate_ * (minimum_ratio_ + (1 - minimum_ratio_) * (1 + std::cos(kPi * Progress(step))) / 2);
    case v1::SCHEDULE_TYPE_INVERSE_SQRT: {
      const double warmup = static_cast<double>(std::max<uint64_t>(warmup_, 1));
      return learning_rate_ * std::sqrt(warmup / std::max(static_cast<double>(step), warmup));
    }
    default:
      return learning_rate_;
  }
}

}  // namespace paramd
