#include "worker/parameter_client/stream.h"

#include "absl/time/time.h"
#include "common/rpc/call.h"
#include "grpcpp/generic/generic_stub.h"

namespace paramd {
namespace {

constexpr char kMethod[] = "/paramd.v1.ParameterService/Exchange";

}  // namespace

ParameterStream::ParameterStream(ParameterStreamOwner& owner, bool always_checksum) : owner_(owner) {
  // The stream lives as long as the job; its requests have deadlines of their own.
  PrepareCall({.timeout = absl::InfiniteDuration()}, context_);
  if (always_checksum) context_.AddMetadata(kChecksumMetadata, kChecksumAlways);
}

void ParameterStream::Start(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub(channel).PrepareBidiStreamingCall(&context_, kMethod, {}, this);
  AddHold();
  StartRead(&response_.buffer);
  StartCall();
}

void ParameterStream::OnReadDone(bool ok) {
  if (!ok) {
    owner_.OnBroken(*this);
    return;
  }
  if (const absl::Status status = DecodeResponse(response_); status.ok()) {
    owner_.OnResponse(*this, response_);
  } else {
    Cancel();
    owner_.OnMalformed(*this, status);
  }
  response_.Clear();
  StartRead(&response_.buffer);
}

void ParameterStream::OnWriteDone(bool ok) {
  // A failed write is followed by a failed read, which says that the call is over.
  owner_.OnWritten(*this);
}

void ParameterStream::OnDone(const grpc::Status& status) {
  ParameterStreamOwner& owner = owner_;
  const grpc::Status copy = status;
  delete this;
  owner.OnEnded(copy);
}

}  // namespace paramd
