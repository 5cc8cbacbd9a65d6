#include "server/coordinator/coordinator_gate.h"

#include <utility>

#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {

CoordinatorGate::CoordinatorGate()
    : closed_(MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STARTING", "the coordinator is starting")) {}

void CoordinatorGate::Open(std::shared_ptr<Coordinator> coordinator, Check check) {
  absl::MutexLock lock(&mutex_);
  coordinator_ = std::move(coordinator);
  check_ = std::move(check);
}

void CoordinatorGate::Close(const absl::Status& why) {
  std::shared_ptr<Coordinator> last;  // Destroyed after the lock is released.
  absl::MutexLock lock(&mutex_);
  last = std::move(coordinator_);
  coordinator_ = nullptr;
  check_ = nullptr;
  closed_ = why;
}

absl::StatusOr<std::shared_ptr<Coordinator>> CoordinatorGate::Get() const {
  absl::MutexLock lock(&mutex_);
  if (coordinator_ == nullptr) return closed_;
  RETURN_IF_ERROR(check_());
  return coordinator_;
}

absl::Status CoordinatorGate::Admits(const Coordinator& coordinator) const {
  absl::MutexLock lock(&mutex_);
  if (coordinator_ == nullptr) return closed_;
  if (coordinator_.get() != &coordinator) {
    return MakeError(absl::StatusCode::kUnavailable, "SESSION_REPLACED", "the coordinator took the lead anew");
  }
  return check_();
}

}  // namespace paramd
