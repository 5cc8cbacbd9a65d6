// What data_plane measures: cases, the settings they share, and the messages that carry both to child processes.
//
// A case is one row of the table. Its servers and workers are processes of their own ("nodes"); see data_plane_node.h.
// Plain data; thread safe.
#ifndef PARAMD_TESTS_BENCH_DATA_PLANE_CASE_H_
#define PARAMD_TESTS_BENCH_DATA_PLANE_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/rpc/channel_arguments.h"
#include "nlohmann/json.hpp"

namespace paramd {

struct DataPlaneCase {
  std::string
      path;  // raw_tcp, stock_unary, stock_stream, tuned_stream, tuned_unix, paramd_tcp, paramd_unix or paramd_shm.
  bool tls = false;
  std::string codec = "fp32";  // Of pushes. Pulls are fp32 when it is, bf16 otherwise.
  int64_t chunk_bytes = 1 << 20;
  int workers = 1;
  int servers = 1;
  bool small = false;  // Latency and rate of 1 KiB messages, instead of throughput.
};

struct DataPlaneSettings {
  int64_t model_bytes = 64 << 20;
  int rounds = 5;
  double seconds = 0.4;  // Measured per case and round, about.
  int window = 16;       // Chunks in flight.
  int owner_threads = 0;
  int streams = 2;                // Per worker and server.
  std::string checksum = "auto";  // auto, always.
  bool mallopt = true;            // Keep freed memory, instead of returning large blocks to the system.
  std::string copy_counter;       // Path of libcopy_counter.so: count copies instead of time. Empty: do not.
  BulkTransportOptions transport;
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BulkTransportOptions, max_frame_bytes, read_chunk_bytes, min_read_chunk_bytes,
                                   max_read_chunk_bytes, lookahead_bytes, bdp_probe, write_buffer_bytes,
                                   tls_frame_bytes, unix_buffer_bytes, loopback_reno)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DataPlaneCase, path, tls, codec, chunk_bytes, workers, servers, small)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DataPlaneSettings, model_bytes, rounds, seconds, window, owner_threads, streams,
                                   checksum, mallopt, copy_counter, transport)

inline constexpr int64_t kSmallMessageBytes = 1024;

// E.g. "paramd_tcp/tls/bf16/1024KiB/1x2": path, tls or plain, codec, chunk, workers x servers; "small/paramd_tcp".
std::string CaseName(const DataPlaneCase& c);

// Everything that is measured unless told otherwise.
std::vector<DataPlaneCase> AllCases();
// What helps to choose channel arguments: measured only when a filter names it.
std::vector<DataPlaneCase> TuningCases();

// The cases whose name contains one of the comma-separated words of `filter`; all for an empty one. A word of the form
// ^TEXT must be at the beginning, TEXT$ at the end.
std::vector<DataPlaneCase> FilterCases(const std::vector<DataPlaneCase>& cases, absl::string_view filter);

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_DATA_PLANE_CASE_H_
