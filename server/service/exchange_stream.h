// The server's end of one ParameterService.Exchange stream: reads requests, hands each to its router, writes answers in
// the order in which they become ready.
//
// Reading stops while the router has no room (Route returned false) and goes on with Resume. Answers wait here,
// unencoded, as references to snapshots; one at a time is encoded and written. A request is open from its arrival until
// its answer is delivered; ids of open requests are unique and at most kMaxOpenRequests.
//
// Threading: gRPC's reactions and Deliver come from any thread; mutex_ guards the state and is never held across a call
// out. Lifetime: shared; gRPC's reference lasts until OnDone.
#ifndef PARAMD_SERVER_SERVICE_EXCHANGE_STREAM_H_
#define PARAMD_SERVER_SERVICE_EXCHANGE_STREAM_H_

#include <cstdint>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "proto/parameter.pb.h"
#include "server/store/chunk_request.h"

namespace paramd {

class ExchangeStream;

// Where a stream's requests go. Outlives the streams. Thread safe; must not block.
class RequestRouter {
 public:
  virtual ~RequestRouter() = default;
  // Takes the request (answers come through Deliver), or returns false; then calls stream->Resume() when to try again.
  virtual bool Route(const std::shared_ptr<ExchangeStream>& stream,
                     const std::shared_ptr<const v1::ParameterRequest>& request) = 0;
  virtual void OnStreamGone(uint64_t stream) = 0;
};

class ExchangeStream final : public grpc::ServerBidiReactor<v1::ParameterRequest, v1::ParameterResponse>,
                             public std::enable_shared_from_this<ExchangeStream> {
 public:
  static constexpr size_t kMaxOpenRequests = 65536;

  // The stream keeps itself alive until gRPC is done with it.
  static std::shared_ptr<ExchangeStream> Create(uint64_t number, RequestRouter& router);
  // Starts reading; once.
  void Start() { Read(); }

  uint64_t number() const { return number_; }
  // Dropped when the request is not open, or the stream has ended.
  void Deliver(Answer answer);
  // The router has room again.
  void Resume();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  ExchangeStream(uint64_t number, RequestRouter& router) : number_(number), router_(router) {}

  // Opens the request and routes it; false when reading must pause.
  bool Accept();
  void Read();
  // Writes the next answer, or finishes the stream, if it is time for either.
  void Advance();

  const uint64_t number_;
  RequestRouter& router_;
  std::shared_ptr<ExchangeStream> self_;            // Until OnDone.
  std::shared_ptr<v1::ParameterRequest> incoming_;  // Of the reader.
  v1::ParameterResponse outgoing_message_;          // Of the writer.

  absl::Mutex mutex_;
  absl::flat_hash_set<uint64_t> open_ ABSL_GUARDED_BY(mutex_);
  std::deque<Answer> outgoing_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool reads_done_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // Cancelled, or a write failed.
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_EXCHANGE_STREAM_H_
