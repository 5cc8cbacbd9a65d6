#include "common/rpc/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <string_view>
#include <tuple>

#include "common/rpc/socket_mutator.h"

namespace paramd {
namespace {

class Mutator : public grpc_socket_mutator {
 public:
  Mutator(const SocketOptions& options, bool loopback);

  void Apply(const grpc_mutate_socket_info& info) const;
  int Compare(const Mutator& other) const;

 private:
  bool IsWithinHost(const grpc_mutate_socket_info& info) const;

  const SocketOptions options_;
  const bool loopback_;
};

bool MutateNamed(const grpc_mutate_socket_info* info, grpc_socket_mutator* mutator) {
  static_cast<Mutator*>(mutator)->Apply(*info);
  return true;
}

bool MutateAny(int, grpc_socket_mutator*) { return true; }  // Only for callers that do not know the other one.

int Compare(grpc_socket_mutator* a, grpc_socket_mutator* b) {
  return static_cast<Mutator*>(a)->Compare(*static_cast<Mutator*>(b));
}

void Destroy(grpc_socket_mutator* mutator) { delete static_cast<Mutator*>(mutator); }

constexpr grpc_socket_mutator_vtable kVtable = {MutateAny, Compare, Destroy, MutateNamed};

Mutator::Mutator(const SocketOptions& options, bool loopback) : options_(options), loopback_(loopback) {
  grpc_socket_mutator_init(this, &kVtable);
}

int FamilyOf(int descriptor) {
  int family = AF_UNSPEC;
  socklen_t size = sizeof(family);
  getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size);
  return family;
}

// Both ends of a connection within the host have the same address, whichever of the host's it is.
bool SameAddress(const sockaddr_storage& a, const sockaddr_storage& b) {
  if (a.ss_family != b.ss_family) return false;
  if (a.ss_family == AF_INET) {
    const auto& x = reinterpret_cast<const sockaddr_in&>(a);
    const auto& y = reinterpret_cast<const sockaddr_in&>(b);
    return x.sin_addr.s_addr == y.sin_addr.s_addr;
  }
  if (a.ss_family != AF_INET6) return false;
  const auto& x = reinterpret_cast<const sockaddr_in6&>(a);
  const auto& y = reinterpret_cast<const sockaddr_in6&>(b);
  return std::memcmp(&x.sin6_addr, &y.sin6_addr, sizeof(x.sin6_addr)) == 0;
}

bool Mutator::IsWithinHost(const grpc_mutate_socket_info& info) const {
  if (info.usage == GRPC_FD_CLIENT_CONNECTION_USAGE) return loopback_;
  sockaddr_storage own = {}, peer = {};
  socklen_t own_size = sizeof(own), peer_size = sizeof(peer);
  return getsockname(info.fd, reinterpret_cast<sockaddr*>(&own), &own_size) == 0 &&
         getpeername(info.fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0 && SameAddress(own, peer);
}

void Mutator::Apply(const grpc_mutate_socket_info& info) const {
  if (info.usage == GRPC_FD_SERVER_LISTENER_USAGE) return;
  if (FamilyOf(info.fd) == AF_UNIX) {
    const int bytes = options_.unix_buffer_bytes;
    if (bytes <= 0) return;
    setsockopt(info.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    setsockopt(info.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    return;
  }
  const char* congestion_control = options_.loopback_congestion_control;
  if (*congestion_control == '\0' || !IsWithinHost(info)) return;
  setsockopt(info.fd, IPPROTO_TCP, TCP_CONGESTION, congestion_control, std::strlen(congestion_control));
}

int Mutator::Compare(const Mutator& other) const {
  const auto key = [](const Mutator& m) {
    return std::make_tuple(m.options_.unix_buffer_bytes, std::string_view(m.options_.loopback_congestion_control),
                           m.loopback_);
  };
  if (key(*this) == key(other)) return 0;
  return key(*this) < key(other) ? -1 : 1;
}

}  // namespace

SocketOptions SocketOptionsOf(const BulkTransportOptions& bulk) {
  return {.unix_buffer_bytes = bulk.unix_buffer_bytes, .loopback_congestion_control = bulk.loopback_reno ? "reno" : ""};
}

void SetSocketOptions(const SocketOptions& options, bool loopback, grpc::ChannelArguments& arguments) {
  arguments.SetSocketMutator(new Mutator(options, loopback));
}

}  // namespace paramd
