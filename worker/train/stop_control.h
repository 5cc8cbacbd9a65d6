// Where a training thread stops: asked, agreed, or at once.
//
//   while (true) {
//     ASSIGN_OR_RETURN(bool go, control.BeginStep(t));     // Training thread.
//     if (!go) break;
//     ...
//   }
//   uint64_t point = control.RequestStop();                // Others: where the thread can stop first, and waits.
//   control.StopAt(step);                                  // >= point: the thread trains up to it.
//
// Thread safe; one training thread.
#ifndef PARAMD_WORKER_TRAIN_STOP_CONTROL_H_
#define PARAMD_WORKER_TRAIN_STOP_CONTROL_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace paramd {

class StopControl {
 public:
  // The thread begins at boundary `first`, or later.
  explicit StopControl(uint64_t steps, uint64_t first = 0) : steps_(steps), boundary_(first) {}

  // The thread does not begin before `boundary`, as is known now. Too late when it has begun there: no effect.
  void NotBefore(uint64_t boundary);

  // At the boundary before step `t`: whether to run it. Waits while a stop is requested and not yet agreed upon.
  absl::StatusOr<bool> BeginStep(uint64_t t);

  // The first boundary that the thread can stop at. It does not pass it until StopAt. Asked again, it says the same.
  uint64_t RequestStop();
  void StopAt(uint64_t step);
  // BeginStep returns `reason` from now on. The first reason stays.
  void Cancel(const absl::Status& reason);
  // Whether StopAt ended or will end the training before its last step.
  bool stopped_early() const;

 private:
  const uint64_t steps_;
  mutable absl::Mutex mutex_;
  uint64_t boundary_ ABSL_GUARDED_BY(mutex_) = 0;  // The next one the thread comes to, or stands at.
  std::optional<uint64_t> stop_point_ ABSL_GUARDED_BY(mutex_);
  std::optional<uint64_t> stop_at_ ABSL_GUARDED_BY(mutex_);
  absl::Status cancelled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_STOP_CONTROL_H_
