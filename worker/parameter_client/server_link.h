// One stream of a parameter client to one server, opened again whenever it breaks: its open requests, what is sent
// when, retries, the transport. See parameter_client.h for the contract.
//
// A request's life: Send puts it into the table, unsent; Pump writes it when the stream can take a message and the
// credit for pushes allows it; the answer erases it. When a stream breaks, all its open requests are unsent again.
//
// A new stream over a unix socket first offers the client's shared segment (ATTACH) and sends nothing before the
// answer; once accepted, payloads and landings that lie in the segment go by offset on this stream.
//
// What is refused as fenced is of an older generation than the server: it is sent again at once when the link knows a
// newer one, and waits for ChangeGeneration otherwise.
//
// With a credit, a call that pushes and pulls is sent as two messages: the answer to both comes only when all workers
// have pushed, and two workers that wait for it with their credit spent on different chunks would wait for ever.
//
// Threading: one mutex guards everything that changes; checksums, landings and writes happen outside it. gRPC's
// callbacks, callers and the client's timer come in. The owner is called without the mutex, but for WakeTimer.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_SERVER_LINK_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_SERVER_LINK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "worker/parameter_client/client_stats.h"
#include "worker/parameter_client/link_transport.h"
#include "worker/parameter_client/parameter_client.h"
#include "worker/parameter_client/payload_holds.h"
#include "worker/parameter_client/request_table.h"
#include "worker/parameter_client/stream.h"

namespace paramd {

class ServerLinkOwner {
 public:
  virtual ~ServerLinkOwner() = default;
  // The link cannot go on. Called on any thread; must not wait for the link.
  virtual void OnLinkFailed(const absl::Status& status) = 0;
  // Tick is wanted soon. Must not call the link.
  virtual void WakeTimer() = 0;
};

struct ServerLinkOptions {
  const ParameterClientOptions& client;
  int server = 0;  // In the placement.
  int stream = 0;  // Among those to the server.
  std::vector<int> chunks;
  int64_t max_message_bytes = 0;
  int64_t credit_bytes = 0;  // 0: none.
  ServerLinkOwner& owner;
  std::shared_ptr<PayloadHolds> holds;
  std::atomic<int64_t>& open_requests;  // Of all links.
};

class ServerLink final : private ParameterStreamOwner {
 public:
  explicit ServerLink(ServerLinkOptions options);

  void Start();
  // Every wait and call, now and later, ends with `reason`, and so does the stream.
  void Fail(const absl::Status& reason);
  // After Fail: waits until no callback can come any more, and drops the channels.
  void Stop();

  // `index` is the chunk's place among the link's; the call is valid. Errors as ParameterClient's.
  absl::Status Send(int index, const ParameterCall& call, PushBytes push);
  absl::StatusOr<ChunkVersion> WaitForChunk(int index);
  // Until no push without a pull is open.
  absl::Status WaitForPushes();
  void ChangeGeneration(uint64_t generation, uint32_t worker_index);
  void SetInterrupted(bool interrupted);
  // Whether payloads are to have checksums, as far as is known now.
  bool wants_checksum() const { return wants_checksum_.load(std::memory_order_relaxed); }

  // Reconnects, sends again and finds out what takes too long. Returns when it is wanted again at the latest.
  absl::Time Tick(absl::Time now);

  // "server 1 (node-a at 10.0.0.1:7070)".
  const std::string& name() const { return name_; }
  // The channel in use.
  std::shared_ptr<grpc::Channel> channel() const;
  ParameterClientStats stats() const;

 private:
  enum class Attachment {
    kNone,    // Payloads go in messages.
    kWanted,  // The first message is the offer.
    kAsked,
    kShared,
  };

  // Of the offer of shared memory; no other request has such an id.
  static constexpr uint64_t kAttachId = 1;
  static_assert(kAttachId < RequestTable::kFirstId);

  struct Chunk {
    int open = 0;         // Unanswered requests.
    bool pulled = false;  // Asked for and not yet waited for.
    ChunkVersion version;
  };

  void OnResponse(ParameterStream& stream, const InboundResponse& response) override;
  void OnMalformed(ParameterStream& stream, const absl::Status& status) override;
  void OnWritten(ParameterStream& stream) override;
  void OnBroken(ParameterStream& stream) override;
  void OnEnded(const grpc::Status& status) override;

  // Writes the next message if the stream is free and there is one.
  void Pump();
  // What Pump writes, with its options; null: nothing.
  ParameterStream* PrepareWrite(grpc::WriteOptions& options) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  grpc::ByteBuffer Encode(OpenRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  grpc::ByteBuffer EncodeAttach() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The next request, if it may be sent now.
  OpenRequest* Sendable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the bytes can go by offset on the present stream.
  bool Shareable(const void* bytes, size_t size) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  OpenRequest& Add(int index, const ParameterCall& call, PushBytes push) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Into the job's trace, when the request is answered.
  void RecordSpans(const OpenRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Accept(OpenRequest& request, const InboundResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends again what may be; what this returns otherwise ends the client.
  absl::Status Refuse(OpenRequest& request, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Requeue(OpenRequest& request, absl::Time when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The server is there but cannot take it now.
  void PutOff(OpenRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RequeueFenced(OpenRequest& request, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAttachAnswer(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the call, unless it is over.
  void CancelStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Looks at all open requests: `wake` becomes the earliest time at which one is to be sent again. True: the stream is
  // taken for dead.
  absl::StatusOr<bool> CheckDeadlines(absl::Time now, absl::Time& wake) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after construction.
  const ServerLinkOptions options_;
  const std::string name_;
  const v1::Codec pull_codec_;

  std::atomic<bool> wants_checksum_ = true;

  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  CallerIdentity caller_ ABSL_GUARDED_BY(mutex_);
  absl::Time fenced_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // And not told of a newer generation.
  absl::Status fenced_ ABSL_GUARDED_BY(mutex_);                               // What the server said then.
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  int open_pushes_ ABSL_GUARDED_BY(mutex_) = 0;  // Requests that pull nothing.
  RequestTable table_ ABSL_GUARDED_BY(mutex_);
  std::vector<Chunk> chunks_ ABSL_GUARDED_BY(mutex_);
  ParameterClientStats stats_ ABSL_GUARDED_BY(mutex_);

  // The stream: until OnEnded; only to be used while not `broken_`, or `writing_`. Once it is broken and released it
  // may delete itself any moment.
  ParameterStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t written_id_ ABSL_GUARDED_BY(mutex_) = 0;  // The request that is being written, or was last.
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;    // Something came on this stream.
  LinkTransport transport_ ABSL_GUARDED_BY(mutex_);
  Attachment attachment_ ABSL_GUARDED_BY(mutex_) = Attachment::kNone;
  absl::Time attach_by_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool attach_given_up_ ABSL_GUARDED_BY(mutex_) = false;
  bool refusal_logged_ ABSL_GUARDED_BY(mutex_) = false;  // Of shared memory.
  bool putting_off_ ABSL_GUARDED_BY(mutex_) = false;     // Something was refused as UNAVAILABLE since the last success.
  std::string logged_address_ ABSL_GUARDED_BY(mutex_);

  Backoff backoff_ ABSL_GUARDED_BY(mutex_);
  absl::Time reconnect_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time silent_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // First break since the last answer.
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_SERVER_LINK_H_
