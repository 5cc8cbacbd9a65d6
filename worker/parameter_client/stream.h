// One Exchange call to one server, in bytes: a reactor that writes one message at a time and reads until the call ends.
//
// Threading: callbacks come on gRPC's threads, reads one at a time, writes one at a time; they do not block. The stream
// deletes itself just before its owner's OnEnded: with it goes its reference to the channel, which must not be the last
// one, because gRPC cannot destroy a channel on one of its own callback threads. So the owner keeps the channel, and
// lives, until OnEnded. It stays alive, and Write may be called, until the owner calls Release, which it must do
// exactly once, after OnBroken and with no write open. Write may be called without a lock: the stream is not touched
// after the message has been handed over.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_STREAM_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_STREAM_H_

#include "absl/status/status.h"
#include "common/rpc/parameter_wire.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/client_callback.h"

namespace paramd {

class ParameterStream;

class ParameterStreamOwner {
 public:
  virtual ~ParameterStreamOwner() = default;
  // The response's bytes are the stream's and gone afterwards.
  virtual void OnResponse(ParameterStream& stream, const InboundResponse& response) = 0;
  // The server sent something that is no response; the stream has been cancelled.
  virtual void OnMalformed(ParameterStream& stream, const absl::Status& status) = 0;
  // The message was handed to the transport, or will never be.
  virtual void OnWritten(ParameterStream& stream) = 0;
  // No further response will come.
  virtual void OnBroken(ParameterStream& stream) = 0;
  // The call is over and the stream is gone. The last use of the owner by it.
  virtual void OnEnded(const grpc::Status& status) = 0;
};

class ParameterStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // `owner` lives until OnEnded. `always_checksum`: the weights are to have checksums wherever they come from.
  ParameterStream(ParameterStreamOwner& owner, bool always_checksum);

  // Begins the call. Once.
  void Start(const std::shared_ptr<grpc::Channel>& channel);
  // What the next Write sends; not to be touched between Write and OnWritten.
  grpc::ByteBuffer& message() { return message_; }
  void Write(grpc::WriteOptions options) { StartWrite(&message_, options); }
  void Cancel() { context_.TryCancel(); }
  void Release() { RemoveHold(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  ParameterStreamOwner& owner_;
  grpc::ClientContext context_;
  grpc::ByteBuffer message_;
  InboundResponse response_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_STREAM_H_
