// How a link reaches its server: the unix socket of a server on the same host, or TCP; and the channels for both.
//
//   LinkTransport transport(TransportPolicy::kAuto, placement, channel_options);
//   transport.Choose();                          // before each stream
//   stream->Start(transport.channel());
//   transport.OnStreamEnded(answered);
//
// kAuto takes the unix socket when the server says it is on this host and something listens there, and falls back to
// TCP for one stream when two in a row have brought no answer over the unix socket. Not thread safe. The last reference
// to a channel must not be dropped on a thread of gRPC's.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_LINK_TRANSPORT_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_LINK_TRANSPORT_H_

#include <array>
#include <memory>
#include <string>

#include "common/rpc/channel.h"
#include "proto/job.pb.h"
#include "worker/parameter_client/client_stats.h"
#include "worker/parameter_client/data_plane_options.h"

namespace paramd {

// Whether the policy allows a unix socket to this server, and there may be one.
bool MayBeLocal(TransportPolicy policy, const v1::ServerPlacement& placement);

class LinkTransport {
 public:
  // TCP, kUnix aside, until Choose.
  LinkTransport(TransportPolicy policy, const v1::ServerPlacement& placement, ChannelOptions options);

  // Decides anew and makes the channel if it is the first time. Connects to the unix socket and hangs up to find out
  // whether it is there; does not block.
  void Choose();
  // The stream is over; whether anything came on it.
  void OnStreamEnded(bool answered);
  // Gives the channels to the caller, to be dropped where that is allowed.
  std::array<std::shared_ptr<grpc::Channel>, 2> TakeChannels() { return std::move(channels_); }

  // As chosen.
  StreamTransport transport() const { return transport_; }
  const std::string& address() const { return transport_ == StreamTransport::kUnix ? local_address_ : address_; }
  // Null before Choose.
  const std::shared_ptr<grpc::Channel>& channel() const { return channels_[static_cast<int>(transport_)]; }

 private:
  StreamTransport Decide();

  const TransportPolicy policy_;
  const std::string address_;
  const std::string local_address_;
  const bool may_be_local_;
  const ChannelOptions options_;
  StreamTransport transport_;                               // kTcp or kUnix.
  std::array<std::shared_ptr<grpc::Channel>, 2> channels_;  // By transport.
  int failures_ = 0;                                        // Streams in a row over the unix socket without an answer.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_LINK_TRANSPORT_H_
