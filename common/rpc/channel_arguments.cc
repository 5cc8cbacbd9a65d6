#include "common/rpc/channel_arguments.h"

#include "grpc/grpc.h"

namespace paramd {
namespace {

// A dead peer is noticed in 10 s + 10 s; shorter timeouts would cut live peers whose cores are all busy computing.
constexpr int kKeepaliveTimeMs = 10 * 1000;
constexpr int kKeepaliveTimeoutMs = 10 * 1000;

void AppendBulk(const BulkTransportOptions& bulk, std::vector<IntArgument>& arguments) {
  arguments.insert(arguments.end(), {
                                        {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, bulk.max_frame_bytes},
                                        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, bulk.lookahead_bytes},
                                        {GRPC_ARG_HTTP2_BDP_PROBE, bulk.bdp_probe ? 1 : 0},
                                        {GRPC_ARG_TCP_READ_CHUNK_SIZE, bulk.read_chunk_bytes},
                                        {GRPC_ARG_TCP_MIN_READ_CHUNK_SIZE, bulk.min_read_chunk_bytes},
                                        {GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, bulk.max_read_chunk_bytes},
                                        {GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0},  // Codecs are ours.
                                    });
  if (bulk.write_buffer_bytes > 0) arguments.push_back({GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, bulk.write_buffer_bytes});
  if (bulk.tls_frame_bytes > 0) arguments.push_back({GRPC_ARG_TSI_MAX_FRAME_SIZE, bulk.tls_frame_bytes});
}

void AppendCommon(ChannelKind kind, const BulkTransportOptions& bulk, std::vector<IntArgument>& arguments) {
  arguments.insert(arguments.end(), {
                                        {GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs},
                                        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs},
                                        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
                                        {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},  // No limit of our own on pings.
                                    });
  // Small frames keep a long message from holding up short ones.
  if (kind == ChannelKind::kControl) return arguments.push_back({GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 64 * 1024});
  AppendBulk(bulk, arguments);
}

}  // namespace

std::vector<IntArgument> ClientArguments(ChannelKind kind, const BulkTransportOptions& bulk) {
  std::vector<IntArgument> arguments = {
      // Without it all channels of equal arguments in a process share one connection, and so one window and one poller.
      {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, kind == ChannelKind::kBulk ? 1 : 0},
      // Daemons talk to each other directly, whatever http_proxy says.
      {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
      // A restarted daemon is found again soon. The "minimum" bounds one connection attempt.
      {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100},
      {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5 * 1000},
      {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2 * 1000},
  };
  AppendCommon(kind, bulk, arguments);
  return arguments;
}

std::vector<IntArgument> ServerArguments(ChannelKind kind, const BulkTransportOptions& bulk) {
  std::vector<IntArgument> arguments = {
      {GRPC_ARG_ALLOW_REUSEPORT, 0},  // A port in use is an error, not a second listener.
      // Below the clients' keepalive time, so that their pings are no offence.
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveTimeMs / 2},
      {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5 * 1000},
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, 1024},
  };
  AppendCommon(kind, bulk, arguments);
  return arguments;
}

}  // namespace paramd
