// paramd.v1.ClusterService over the engine that leads: one SessionReactor per daemon's stream.
//
// Thread safe. Borrows the gate, which must outlive the server this service is registered with.
#ifndef PARAMD_SERVER_COORDINATOR_CLUSTER_SERVICE_H_
#define PARAMD_SERVER_COORDINATOR_CLUSTER_SERVICE_H_

#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"
#include "proto/cluster.grpc.pb.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/coordinator_gate.h"

namespace paramd {

// One Session stream. Reads go to the engine one by one, for as long as the gate admits it; messages to the daemon wait
// in a bounded queue. Keeps its engine alive. Deletes itself when the call is done.
class SessionReactor final : public grpc::ServerBidiReactor<v1::DaemonMessage, v1::CoordinatorMessage>,
                             public SessionLink {
 public:
  static constexpr size_t kMaxQueued = 4096;

  SessionReactor(const CoordinatorGate& gate, std::shared_ptr<Coordinator> coordinator);

  void Send(const v1::CoordinatorMessage& message) override;
  void Close(const absl::Status& status) override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void CloseLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts the next write, or finishes once the queue of a closed link is empty.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CoordinatorGate& gate_;
  const std::shared_ptr<Coordinator> coordinator_;
  v1::DaemonMessage message_;  // Being read; the read reaction's own.

  absl::Mutex mutex_;                                                 // After the engine's in lock order.
  std::deque<v1::CoordinatorMessage> queue_ ABSL_GUARDED_BY(mutex_);  // The first is being written while writing_.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);  // Why it was closed.
};

// A Session stream that nobody leads: ends with the reason. Deletes itself.
class RefusedSession final : public grpc::ServerBidiReactor<v1::DaemonMessage, v1::CoordinatorMessage> {
 public:
  explicit RefusedSession(const absl::Status& why);
  void OnDone() override { delete this; }
};

class ClusterService final : public v1::ClusterService::CallbackService {
 public:
  explicit ClusterService(const CoordinatorGate& gate) : gate_(gate) {}

  grpc::ServerBidiReactor<v1::DaemonMessage, v1::CoordinatorMessage>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context, const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;

 private:
  const CoordinatorGate& gate_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_CLUSTER_SERVICE_H_
