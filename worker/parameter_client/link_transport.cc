#include "worker/parameter_client/link_transport.h"

#include <utility>

#include "common/base/host.h"
#include "common/rpc/local_socket.h"

namespace paramd {
namespace {

constexpr int kMaxFailures = 2;

}  // namespace

bool MayBeLocal(TransportPolicy policy, const v1::ServerPlacement& placement) {
  if (policy == TransportPolicy::kTcp || placement.local_address().empty()) return false;
  // A host id that is not known is equal to nobody's.
  return policy == TransportPolicy::kUnix || (!placement.host_id().empty() && placement.host_id() == HostId());
}

LinkTransport::LinkTransport(TransportPolicy policy, const v1::ServerPlacement& placement, ChannelOptions options)
    : policy_(policy),
      address_(placement.address()),
      local_address_(placement.local_address()),
      may_be_local_(MayBeLocal(policy, placement)),
      options_(std::move(options)),
      transport_(policy == TransportPolicy::kUnix ? StreamTransport::kUnix : StreamTransport::kTcp) {}

void LinkTransport::Choose() {
  transport_ = Decide();
  std::shared_ptr<grpc::Channel>& channel = channels_[static_cast<int>(transport_)];
  if (channel == nullptr) channel = CreateChannel(address(), options_);
}

StreamTransport LinkTransport::Decide() {
  if (policy_ == TransportPolicy::kUnix) return StreamTransport::kUnix;
  if (!may_be_local_) return StreamTransport::kTcp;
  if (std::exchange(failures_, failures_ % kMaxFailures) >= kMaxFailures) return StreamTransport::kTcp;
  return CanConnectLocally(local_address_) ? StreamTransport::kUnix : StreamTransport::kTcp;
}

void LinkTransport::OnStreamEnded(bool answered) {
  if (transport_ != StreamTransport::kUnix) return;
  failures_ = answered ? 0 : failures_ + 1;
}

}  // namespace paramd
