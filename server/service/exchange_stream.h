// The server's end of one ParameterService.Exchange stream: reads requests, decodes them, hands each to its router, and
// writes answers as they become ready. Messages are raw ByteBuffers: a payload stays in the slices that gRPC received
// it in until the owner thread has consumed it, and weights leave in slices that alias the snapshot.
//
//   auto stream = ExchangeStream::Create({.number = 7, .transport = Transport::kTcp}, router, metrics);
//   stream->Start();
//   return stream.get();                       // To gRPC, which ends its life with OnDone.
//
// Two roles, each of one thread at a time and passed on without a lock:
// - The reader runs from OnReadDone to the next StartRead. It pauses when the ReadGate says so (then whoever makes room
//   goes on reading) and ends with the client's last request, a broken stream, or a message that is none.
// - The writer runs from the first answer in the AnswerQueue until that is empty, OnWriteDone included. Answers that
//   follow one another are batched into as few system calls as possible. When the reader has ended and no request is
//   open, or the stream is broken, it finishes the stream; nobody gets the role after that.
// So no read and no write is ever started on a finished stream.
//
// A request is open from its arrival until its answer is written. Its id is only handed back: that ids differ is in the
// client's interest alone.
//
// Threading: gRPC's reactions, Consumed and Deliver come from any thread. Lifetime: shared by gRPC (until OnDone) and
// by every request that is under way.
#ifndef PARAMD_SERVER_SERVICE_EXCHANGE_STREAM_H_
#define PARAMD_SERVER_SERVICE_EXCHANGE_STREAM_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "common/rpc/parameter_wire.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/service/answer_queue.h"
#include "server/service/attachment.h"
#include "server/service/exchange_request.h"
#include "server/service/read_gate.h"
#include "server/service/recycle_pool.h"
#include "server/service/server_job.h"
#include "server/service/server_metrics.h"
#include "server/service/transport.h"

namespace paramd {

// Where a stream's requests go. Outlives the streams' calls. Thread safe; must not block.
class RequestRouter {
 public:
  virtual ~RequestRouter() = default;
  // Fills slot.request and sends the slot on its way to the owner thread, which may be done with it before Route
  // returns; or returns why it is refused, and leaves the slot to the caller. On the stream's reader.
  virtual absl::Status Route(InboundSlot& slot) = 0;
  virtual void OnStreamGone(uint64_t stream) = 0;
};

struct ExchangeStreamOptions {
  uint64_t number = 0;
  Transport transport = Transport::kTcp;
  bool shared_memory = false;  // Whether memory may be attached; only on streams over unix sockets.
  bool checksum = true;        // Of the weights in answers.
  ReadLimits limits;
};

class ExchangeStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                             public std::enable_shared_from_this<ExchangeStream> {
 public:
  // What the router keeps with a stream. Of the reader alone.
  struct ReaderState {
    std::weak_ptr<ServerJob> job;                  // Of the last request.
    std::shared_ptr<const Attachment> attachment;  // Null: none.
  };

  // Both must outlive the call; `metrics` also the requests under way. The stream keeps itself alive until OnDone.
  static std::shared_ptr<ExchangeStream> Create(const ExchangeStreamOptions& options, RequestRouter& router,
                                                ServerMetrics& metrics);
  // Starts reading; once.
  void Start() { Read(); }

  ReaderState& reader_state() { return reader_state_; }
  Transport transport() const { return options_.transport; }
  // Held in slots, and of answers that wait or are being written.
  int64_t held_bytes() const { return gate_.held_bytes(); }
  int64_t unsent_bytes() const { return unsent_bytes_.load(std::memory_order_relaxed); }

  // The slot's payload is not needed any more. The caller keeps the stream alive.
  void Consumed(InboundSlot& slot);
  // Dropped when the stream has ended. The caller keeps the stream alive.
  void Deliver(OpenRequest& open, Answer answer);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { Break(); }
  void OnDone() override;

 private:
  ExchangeStream(const ExchangeStreamOptions& options, RequestRouter& router, ServerMetrics& metrics)
      : options_(options), router_(router), metrics_(metrics), gate_(options.limits) {}

  // The reader's. Read ends the caller's role, whatever comes of it.
  void Read();
  void EndReading();
  void Accept(InboundSlot& slot);
  absl::Status Attach(const RequestHeader& header);

  // The writer's. Both end the caller's role.
  void Advance();
  void Write(OpenRequest& open);
  // The answer is out, or dropped.
  void Close(OpenRequest& open);

  // Nothing can be written any more.
  void Break();

  const ExchangeStreamOptions options_;
  RequestRouter& router_;
  ServerMetrics& metrics_;
  std::shared_ptr<ExchangeStream> self_;  // Until OnDone.

  // Own synchronisation.
  ReadGate gate_;
  RecyclePool<InboundSlot> slots_;
  RecyclePool<OpenRequest> open_requests_;
  AnswerQueue<OpenRequest> answers_;
  std::atomic<int64_t> unsent_bytes_ = 0;
  std::atomic<bool> reader_ended_ = false;
  std::atomic<bool> broken_ = false;
  OpenRequest end_mark_, break_mark_;  // Each queued at most once.

  // Of the reader. The baton makes what one reader did before StartRead visible to the next also where the order inside
  // gRPC cannot be seen (ThreadSanitizer).
  std::atomic<int> read_baton_ = 0;
  InboundSlot* reading_ = nullptr;
  ReaderState reader_state_;
  absl::Status refusal_;  // Why the reader ended before the client did; OK: it did not. Read by the writer afterwards.

  // Of the writer; likewise.
  std::atomic<int> write_baton_ = 0;
  OpenRequest* writing_ = nullptr;
  ResponseHeader header_;
  grpc::ByteBuffer outgoing_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_EXCHANGE_STREAM_H_
