// gRPC's knobs, as paramd sets them on channels and servers; each with its reason in the source.
//
//   for (const IntArgument& a : ClientArguments(ChannelKind::kBulk, {})) arguments.SetInt(a.name, a.value);
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_RPC_CHANNEL_ARGUMENTS_H_
#define PARAMD_COMMON_RPC_CHANNEL_ARGUMENTS_H_

#include <vector>

namespace paramd {

enum class ChannelKind {
  kControl,  // Small messages; keepalive on.
  kBulk,     // Tensors: own connection (never shared), large frames, no compression.
};

// What kBulk channels and servers have to themselves. The defaults are measured (docs/performance.md); nothing but
// benchmarks changes them.
struct BulkTransportOptions {
  int max_frame_bytes = 16 * 1024 * 1024 - 1;  // HTTP/2's maximum: a chunk is one frame.
  int read_chunk_bytes = 1024 * 1024;          // Of one read from a socket: few system calls and slices.
  int min_read_chunk_bytes = 64 * 1024;
  int max_read_chunk_bytes = 8 * 1024 * 1024;
  int lookahead_bytes = 64 * 1024 * 1024;   // Of the flow-control window of a stream: never closes below a chunk.
  bool bdp_probe = false;                   // gRPC's bandwidth probe; with such a window it only adds wake-ups.
  int write_buffer_bytes = 0;               // Queued for a stream before a hinted write is flushed; 0: gRPC's default.
  int tls_frame_bytes = 0;                  // Of gRPC's TLS layer; 0: its default, which is its maximum.
  int unix_buffer_bytes = 4 * 1024 * 1024;  // Of the kernel, each way, for a unix socket; 0: the system's default.
  bool loopback_reno = true;                // TCP within the host is not paced, whatever the system's default.
};

struct IntArgument {
  const char* name;  // A GRPC_ARG_*.
  int value;
};

std::vector<IntArgument> ClientArguments(ChannelKind kind, const BulkTransportOptions& bulk);
std::vector<IntArgument> ServerArguments(ChannelKind kind, const BulkTransportOptions& bulk);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_CHANNEL_ARGUMENTS_H_
