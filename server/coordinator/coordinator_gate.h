// Between the services and the engine: who answers now. Services outlive engines where a coordinator has standbys: each
// time the process takes the lead there is another engine, and none while another process leads.
//
//   gate.Open(coordinator, [leadership] { return leadership->Check(); });
//   ASSIGN_OR_RETURN(std::shared_ptr<Coordinator> coordinator, gate.Get());   // of each call
//   gate.Close(NotLeaderError("10.0.0.8:7070 leads", "10.0.0.8:7070"));
//
// Thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_COORDINATOR_GATE_H_
#define PARAMD_SERVER_COORDINATOR_COORDINATOR_GATE_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/coordinator/coordinator.h"

namespace paramd {

class CoordinatorGate {
 public:
  // Whether the engine may still act; called from any thread, must not block.
  using Check = std::function<absl::Status()>;

  // Closed: COORDINATOR_STARTING.
  CoordinatorGate();

  void Open(std::shared_ptr<Coordinator> coordinator, Check check);
  // Calls get `why` from now on.
  void Close(const absl::Status& why);

  // The engine, if it may act now; else why not.
  absl::StatusOr<std::shared_ptr<Coordinator>> Get() const;
  // OK while `coordinator` is the engine and may act.
  absl::Status Admits(const Coordinator& coordinator) const;

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<Coordinator> coordinator_ ABSL_GUARDED_BY(mutex_);
  Check check_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_COORDINATOR_GATE_H_
