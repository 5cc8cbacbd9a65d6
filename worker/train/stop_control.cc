#include "worker/train/stop_control.h"

#include <algorithm>

namespace paramd {

void StopControl::NotBefore(uint64_t boundary) {
  absl::MutexLock lock(&mutex_);
  boundary_ = std::max(boundary_, std::min(boundary, steps_));
}

absl::StatusOr<bool> StopControl::BeginStep(uint64_t t) {
  absl::MutexLock lock(&mutex_);
  boundary_ = t;
  const auto may_go = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !cancelled_.ok() || stop_at_ || !stop_point_ || t < *stop_point_ || t >= steps_;
  };
  mutex_.Await(absl::Condition(&may_go));
  if (!cancelled_.ok()) return cancelled_;
  if (t >= steps_ || (stop_at_ && t >= *stop_at_)) return false;
  boundary_ = t + 1;
  return true;
}

uint64_t StopControl::RequestStop() {
  absl::MutexLock lock(&mutex_);
  if (!stop_point_) stop_point_ = boundary_;
  return *stop_point_;
}

void StopControl::StopAt(uint64_t step) {
  absl::MutexLock lock(&mutex_);
  stop_at_ = std::min(step, steps_);
}

void StopControl::Cancel(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  if (cancelled_.ok()) cancelled_ = reason;
}

bool StopControl::stopped_early() const {
  absl::MutexLock lock(&mutex_);
  return stop_at_ && *stop_at_ < steps_;
}

}  // namespace paramd
