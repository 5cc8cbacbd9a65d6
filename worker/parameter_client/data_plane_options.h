// How a worker reaches its servers: what an operator may choose by flags. Jobs do not see the difference.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_DATA_PLANE_OPTIONS_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_DATA_PLANE_OPTIONS_H_

#include <cstdint>

namespace paramd {

enum class TransportPolicy {
  kAuto,  // A unix socket to servers on this host, when one can be connected to; TCP to the others.
  kTcp,
  kUnix,  // Servers without a unix socket here are an error.
};

enum class ChecksumPolicy {
  kAuto,    // Payloads carry a CRC-32C where only TCP's checksum guards them: between hosts, without TLS.
  kAlways,  // Everywhere; but weights that the server writes into shared memory have none.
};

inline constexpr int kMaxStreamsPerServer = 16;

struct DataPlaneOptions {
  TransportPolicy transport = TransportPolicy::kAuto;
  bool shared_memory = true;  // Over unix sockets, payloads go through memory that the server maps, if it agrees.
  ChecksumPolicy checksum = ChecksumPolicy::kAuto;
  int streams_per_server = 2;  // Each with a connection of its own; a chunk always takes the same one.
  // Bytes of pushes sent to a server and not yet acknowledged; one push may always be on its way. 0: no bound.
  int64_t max_bytes_in_flight = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_DATA_PLANE_OPTIONS_H_
