// How bytes came to this server or left it.
#ifndef PARAMD_SERVER_SERVICE_TRANSPORT_H_
#define PARAMD_SERVER_SERVICE_TRANSPORT_H_

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace paramd {

enum class Transport { kTcp, kUnix, kSharedMemory };

inline constexpr int kTransports = 3;

inline const char* TransportName(Transport transport) {
  switch (transport) {
    case Transport::kTcp:
      return "tcp";
    case Transport::kUnix:
      return "unix";
    case Transport::kSharedMemory:
      return "shared_memory";
  }
  return "";
}

// Of a call by gRPC's name of its peer, which the peer has no say in.
inline Transport TransportOfPeer(absl::string_view peer) {
  return absl::StartsWith(peer, "unix:") ? Transport::kUnix : Transport::kTcp;
}

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_TRANSPORT_H_
