// Options of the sockets under gRPC's channels and servers for which gRPC has no argument.
//
//   grpc::ChannelArguments arguments;
//   SetSocketOptions({.unix_buffer_bytes = 1 << 20}, /*loopback=*/false, arguments);
//
// They are set when a socket is created (clients) or accepted (servers), through gRPC's socket mutator. An option that
// the kernel refuses leaves the socket as it was: these make things faster, nothing depends on them. Thread safe.
#ifndef PARAMD_COMMON_RPC_SOCKET_OPTIONS_H_
#define PARAMD_COMMON_RPC_SOCKET_OPTIONS_H_

#include "absl/strings/string_view.h"
#include "common/rpc/channel_arguments.h"
#include "grpcpp/support/channel_arguments.h"

namespace paramd {

struct SocketOptions {
  int unix_buffer_bytes = 0;  // SO_SNDBUF and SO_RCVBUF of unix sockets; the kernel caps them. 0: the system's.
  // Congestion control of TCP within this host, e.g. "reno": nothing is to be probed or paced there. Empty: the
  // system's.
  const char* loopback_congestion_control = "";
};

SocketOptions SocketOptionsOf(const BulkTransportOptions& bulk);

// For the channel or server made with `arguments`. A client's sockets are known to be on loopback by `loopback` only:
// they are not connected yet; a server looks at its peer.
void SetSocketOptions(const SocketOptions& options, bool loopback, grpc::ChannelArguments& arguments);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_SOCKET_OPTIONS_H_
