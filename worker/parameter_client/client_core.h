// The state behind a ParameterClient: open requests, streams, retries. See parameter_client.h for the contract.
//
// Threading: one mutex guards everything that changes; encoding, checksums and copies are done outside it. gRPC's
// callbacks, the callers and one timer thread come in. Lock order: none, the mutex is never held while calling out,
// except into gRPC functions that only start operations.
//
// A request's life: Send puts it into its server's `unsent`; Pump encodes it when the stream can take a message; the
// answer erases it. When a stream breaks, all open requests of the server go back to `unsent`, in the order of their
// ids.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_CORE_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_CORE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/parameter_client/parameter_client.h"
#include "worker/parameter_client/stream.h"

namespace paramd {

class ParameterClientCore final : public ParameterStreamOwner {
 public:
  ParameterClientCore(ParameterClientOptions options, const ArenaPlan& plan);

  void Start();
  // Cancels and waits until no callback can come any more.
  void Stop();

  absl::Status WaitForConnections(absl::Duration timeout);
  absl::Status Send(const ParameterCall& call);
  absl::StatusOr<ChunkVersion> WaitForChunk(int chunk);
  void Fail(const absl::Status& reason);
  absl::Status status() const;
  ParameterClientStats stats() const;

  void OnResponse(ParameterStream& stream, v1::ParameterResponse& response) override;
  void OnWritten(ParameterStream& stream) override;
  void OnBroken(ParameterStream& stream) override;
  void OnEnded(int index, const grpc::Status& status) override;

 private:
  struct Request {
    ParameterCall call;
    absl::Time created;
    absl::Time answer_by = absl::InfiniteFuture();  // When sent: after that the stream is taken for dead.
    absl::Time resend_at = absl::InfiniteFuture();  // When the server asked to come back later.
    int damaged = 0;                                // Attempts that arrived or came back with a bad checksum.
    bool queued = true;                             // In `unsent`.
  };

  struct Server {
    std::string name;  // "server 1 (node-a at 10.0.0.1:7070)".
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::ParameterService::Stub> stub;
    ParameterStream* stream = nullptr;  // Until OnEnded; only to be used while not `broken`, or `writing`.
    bool broken = false;                // The call is over: once released, the stream may delete itself any moment.
    bool writing = false;               // A message is being encoded or written.
    std::deque<uint64_t> unsent;
    std::map<uint64_t, Request> open;  // By request id.
    std::unique_ptr<Backoff> backoff;
    absl::Time reconnect_at = absl::InfinitePast();
    absl::Time silent_since = absl::InfiniteFuture();  // First break since the last answer.
    std::string last_error;
  };

  struct Chunk {
    int server = 0;
    int open = 0;  // Unanswered requests.
    bool pulling = false;
    bool has_weights = false;
    std::string weights;  // Checked bytes.
    absl::Span<float> landing;
    ChunkVersion version;
  };

  // Encodes and writes the next unsent request of `server` if its stream is free. Releases and retakes the mutex.
  void Pump(int server) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Connect(int server) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailLocked(const absl::Status& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the call to the server, unless it is over.
  void Cancel(Server& server) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Requeue(Server& server, uint64_t id, absl::Time when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Accept(Server& server, uint64_t id, v1::ParameterResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends again what may be, fails the client otherwise.
  void Refuse(Server& server, uint64_t id, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void RunTimer();
  void Tick(int server, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after construction.
  const ParameterClientOptions options_;
  std::vector<int64_t> chunk_elements_;

  mutable absl::Mutex mutex_;
  absl::CondVar timer_wake_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<Server> servers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Chunk> chunks_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  int64_t open_requests_ ABSL_GUARDED_BY(mutex_) = 0;
  int live_streams_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  ParameterClientStats stats_ ABSL_GUARDED_BY(mutex_);

  std::thread timer_;  // Started by Start, joined by Stop.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_CORE_H_
