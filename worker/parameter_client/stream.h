// One Exchange call to one server: a reactor that writes one message at a time and reads until the call ends.
//
// Threading: callbacks come on gRPC's threads, reads one at a time, writes one at a time; they do not block. The stream
// deletes itself just before its owner's OnEnded: with it goes its reference to the channel, which must not be the last
// one, because gRPC cannot destroy a channel on one of its own callback threads. So the owner keeps the channel, and
// lives, until OnEnded. It stays alive, and Write may be called, until the owner calls Release, which it must do
// exactly once, after OnBroken and with no write open.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_STREAM_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_STREAM_H_

#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "proto/parameter.grpc.pb.h"
#include "proto/parameter.pb.h"

namespace paramd {

class ParameterStream;

class ParameterStreamOwner {
 public:
  virtual ~ParameterStreamOwner() = default;
  virtual void OnResponse(ParameterStream& stream, v1::ParameterResponse& response) = 0;
  // The message in request() was handed to the transport, or will never be.
  virtual void OnWritten(ParameterStream& stream) = 0;
  // No further response will come.
  virtual void OnBroken(ParameterStream& stream) = 0;
  // The call is over and the stream to `server` is gone. The last use of the owner.
  virtual void OnEnded(int server, const grpc::Status& status) = 0;
};

class ParameterStream final : public grpc::ClientBidiReactor<v1::ParameterRequest, v1::ParameterResponse> {
 public:
  // `owner` lives until OnEnded. `server` is the owner's name for the other end.
  ParameterStream(ParameterStreamOwner& owner, int server);

  // Begins the call. Once.
  void Start(v1::ParameterService::Stub& stub);
  // The message that the next Write sends; not to be touched between Write and OnWritten.
  v1::ParameterRequest& request() { return request_; }
  void Write() { StartWrite(&request_); }
  void Cancel() { context_.TryCancel(); }
  void Release() { RemoveHold(); }
  int server() const { return server_; }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  ParameterStreamOwner& owner_;
  const int server_;
  grpc::ClientContext context_;
  v1::ParameterRequest request_;
  v1::ParameterResponse response_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_STREAM_H_
