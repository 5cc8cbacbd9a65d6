// One bidirectional stream of ClusterService.Session as events: a queue of messages out, one message in at a time.
//
//   auto stream = CoordinatorStream::Open(stub, [](CoordinatorStream::Event event) { ... });
//   stream->Send(message);
//   stream->ReadNext();      // After each message that came; back-pressure is the caller's pace.
//   stream->CloseWrites();   // Or Cancel().
//
// Exactly one Event with `done` comes, as the last. Events come on gRPC's threads, one at a time, and the receiver must
// not block in them. Thread safe. Lives until `done`, whoever drops it.
#ifndef PARAMD_COMMON_RPC_COORDINATOR_STREAM_H_
#define PARAMD_COMMON_RPC_COORDINATOR_STREAM_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "proto/cluster.grpc.pb.h"

namespace paramd {

class CoordinatorStream final : public grpc::ClientBidiReactor<v1::DaemonMessage, v1::CoordinatorMessage> {
 public:
  struct Event {
    bool done = false;
    v1::CoordinatorMessage message;  // Unless done.
    absl::Status status;             // When done: how the stream ended.
  };
  using Receiver = std::function<void(Event)>;

  // Starts the call and the first read.
  static std::shared_ptr<CoordinatorStream> Open(v1::ClusterService::Stub& stub, Receiver receiver);

  // Queues a message; dropped when the stream is over.
  void Send(v1::DaemonMessage message);
  // Messages that wait to be written.
  size_t queued() const;
  void ReadNext();
  // Half-closes once the queue is written.
  void CloseWrites();
  // Ends the call now; `done` follows.
  void Cancel();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnWritesDoneDone(bool ok) override {}
  void OnDone(const grpc::Status& status) override;

 private:
  explicit CoordinatorStream(Receiver receiver) : receiver_(std::move(receiver)) {}

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // No operation starts any more; OnDone comes when those in flight are over.
  void Close() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after Open.
  const Receiver receiver_;
  grpc::ClientContext context_;
  std::shared_ptr<CoordinatorStream> self_;  // Held while gRPC holds the stream; cleared in OnDone.

  v1::CoordinatorMessage incoming_;  // Owned by the read in flight, else by OnReadDone.

  mutable absl::Mutex mutex_;
  std::deque<v1::DaemonMessage> outgoing_ ABSL_GUARDED_BY(mutex_);  // The front is being written.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool close_writes_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_COORDINATOR_STREAM_H_
