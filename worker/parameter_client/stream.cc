#include "worker/parameter_client/stream.h"

#include "absl/time/time.h"
#include "common/rpc/call.h"

namespace paramd {

ParameterStream::ParameterStream(ParameterStreamOwner& owner, int server) : owner_(owner), server_(server) {
  // The stream lives as long as the job; its requests have deadlines of their own.
  PrepareCall({.timeout = absl::InfiniteDuration()}, context_);
}

void ParameterStream::Start(v1::ParameterService::Stub& stub) {
  stub.async()->Exchange(&context_, this);
  AddHold();
  StartRead(&response_);
  StartCall();
}

void ParameterStream::OnReadDone(bool ok) {
  if (!ok) {
    owner_.OnBroken(*this);
    return;
  }
  owner_.OnResponse(*this, response_);
  StartRead(&response_);
}

void ParameterStream::OnWriteDone(bool ok) {
  // A failed write is followed by a failed read, which says that the call is over.
  owner_.OnWritten(*this);
}

void ParameterStream::OnDone(const grpc::Status& status) {
  ParameterStreamOwner& owner = owner_;
  const int server = server_;
  const grpc::Status copy = status;
  delete this;
  owner.OnEnded(server, copy);
}

}  // namespace paramd
