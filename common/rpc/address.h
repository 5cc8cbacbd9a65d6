// Addresses as flags and messages carry them: host:port, with IPv6 hosts in brackets.
//
//   ASSIGN_OR_RETURN(HostPort address, ParseHostPort("0.0.0.0:7070"));
//
// Pure and thread safe; names are not resolved.
#ifndef PARAMD_COMMON_RPC_ADDRESS_H_
#define PARAMD_COMMON_RPC_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace paramd {

struct HostPort {
  std::string host;  // Without brackets.
  int port = 0;      // 0..65535.
};

// kInvalidArgument (reason INVALID_ADDRESS) that says what is wrong with `text`.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

// host:port, with brackets around an IPv6 host.
std::string FormatHostPort(absl::string_view host, int port);

// Whether host:port is written as a loopback address: 127.x.x.x, [::1] or localhost.
bool IsLoopbackAddress(absl::string_view address);
// Whether a call's peer, as gRPC names it, is at a loopback address.
bool IsLoopbackPeer(absl::string_view peer);

// Whether `host` stands for all of a machine's addresses.
bool IsWildcardHost(absl::string_view host);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_ADDRESS_H_
