// What a parameter client has done so far, and what it is doing.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_STATS_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_STATS_H_

#include <array>
#include <cstdint>

#include "proto/parameter.pb.h"

namespace paramd {

// How a stream reaches its server.
enum class StreamTransport { kTcp, kUnix, kSharedMemory };
inline constexpr int kStreamTransports = 3;

struct Traffic {
  int64_t wire_bytes = 0;  // As encoded, whether in messages or in shared memory.
  int64_t raw_bytes = 0;   // As fp32.
};

struct ParameterClientStats {
  int64_t pushed_bytes = 0;  // Payloads sent, retries included.
  int64_t pulled_bytes = 0;  // Payloads received and accepted.
  int64_t retries = 0;       // Requests sent again, for whatever reason.
  int64_t duplicates = 0;    // Pushes that the server had already.
  int64_t reconnections = 0;
  int64_t shared_memory_refusals = 0;  // By servers reached through a unix socket.
  // The bytes above by v1::Codec.
  std::array<Traffic, v1::Codec_ARRAYSIZE> pushed{};
  std::array<Traffic, v1::Codec_ARRAYSIZE> pulled{};

  // Now:
  int64_t open_requests = 0;
  int64_t in_flight_bytes = 0;                   // Of pushes in messages sent and not yet answered.
  std::array<int, kStreamTransports> streams{};  // By StreamTransport; those being opened again are missing.
};

// Adds all of `more` to `stats`.
void AddStats(const ParameterClientStats& more, ParameterClientStats& stats);

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_STATS_H_
