// The two halves of a request's life on an Exchange stream. An InboundSlot holds the received bytes until the owner
// thread has consumed them: it is the task that waits in the owner's queue, and a stream has few. An OpenRequest is
// what is left until the answer is written: small, as many as there are requests that wait for weights.
//
// Both belong to their stream, which uses them again and again; a request that is under way keeps the stream alive
// through the key's origin. Each is used by one thread at a time: the reader, the owner thread, then (OpenRequest) the
// writer.
#ifndef PARAMD_SERVER_SERVICE_EXCHANGE_REQUEST_H_
#define PARAMD_SERVER_SERVICE_EXCHANGE_REQUEST_H_

#include <cstdint>
#include <memory>

#include "common/rpc/parameter_wire.h"
#include "server/service/attachment.h"
#include "server/service/owner_threads.h"
#include "server/service/request_origin.h"
#include "server/service/server_job.h"
#include "server/service/transport.h"
#include "server/store/chunk_request.h"

namespace paramd {

class ExchangeStream;

class OpenRequest final : public RequestOrigin {
 public:
  // Hands the answer to the stream's writer. The caller's reference keeps the stream alive.
  void Deliver(Answer delivered) override;
  Transport push_transport() const override { return push; }
  Transport pull_transport() const override { return pull; }

  // For AnswerQueue. A mark belongs to no stream.
  bool is_mark() const { return stream == nullptr; }
  uint32_t chunk() const { return answer.chunk; }

  ExchangeStream* stream = nullptr;
  uint64_t request_id = 0;
  Transport push = Transport::kTcp;
  Transport pull = Transport::kTcp;
  std::shared_ptr<const Attachment> attachment;  // When the request uses shared memory.
  Answer answer;
  size_t unsent_bytes = 0;      // Of the answer's payload.
  OpenRequest* next = nullptr;  // Of the pool or queue it is in.
};

class InboundSlot final : public OwnerTask {
 public:
  // On the owner thread of the request's chunk, which `job` has.
  void Run() override {
    job->Handle(request);
    Release();
  }
  void Drop() override { Release(); }
  // Gives the slot back to its stream.
  void Release();

  InboundRequest message;
  int64_t bytes = 0;     // Received.
  ChunkRequest request;  // Its payload lies in `message` or in shared memory.
  std::shared_ptr<ServerJob> job;
  ExchangeStream* stream = nullptr;  // While in use; kept alive by request.key.origin.
  InboundSlot* next = nullptr;       // Of the pool; the owner's queue has its own.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_EXCHANGE_REQUEST_H_
