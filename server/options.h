// The server's settings, as main's flags fill them.
//
//   ServerOptions options = {.listen = "127.0.0.1:0", .coordinator = "127.0.0.1:7070", .output_dir = "/tmp/out"};
//   RETURN_IF_ERROR(options.Validate());
#ifndef PARAMD_SERVER_OPTIONS_H_
#define PARAMD_SERVER_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/channel_arguments.h"
#include "common/rpc/credentials.h"
#include "common/rpc/local_socket.h"

namespace paramd {

struct ServerOptions {
  std::string listen = "0.0.0.0:7071";          // gRPC: parameters, health, reflection. Port 0 takes a free one.
  std::string advertise;                        // host:port that peers reach it at; default: from `listen`.
  std::string metrics_listen = "0.0.0.0:9071";  // HTTP: metrics and health.
  std::string coordinator = "127.0.0.1:7070";
  std::string node_id;  // Unique in the cluster; default: <host name>-server-<port>.
  std::string log_level = "info";
  std::string port_file;                              // Gets {"port":N,"metrics_port":M} once both listen. Empty: none.
  std::string memory_limit = "80%";                   // For jobs; see ParseBytesFlag.
  int threads = 0;                                    // Owner threads, 1..1024; 0: one per hardware thread.
  std::string output_dir = "/var/lib/paramd/output";  // Of saved weights, unless a job names its own.
  absl::Duration request_timeout = absl::Seconds(60);  // How long a pull may wait, and calls between servers take.
  absl::Duration orphan_timeout = absl::Minutes(10);  // How long jobs are kept without a lease, their requests refused.
  LocalSocketOptions local_socket = {.place = "auto"};  // For workers on this host.
  bool shared_memory = true;                            // Whether such workers may pass payloads in memory of theirs.
  std::string host_id;                                  // As registered; default: HostId(). For tests.
  TlsOptions tls;
  BulkTransportOptions bulk;  // For benchmarks.

  // kInvalidArgument, INVALID_FLAG, with the flag's name. Makes output_dir and tries to write to it.
  absl::Status Validate() const;
  // Of valid options.
  int64_t MemoryLimitBytes() const;
};

// The machine's memory.
int64_t PhysicalMemoryBytes();

}  // namespace paramd

#endif  // PARAMD_SERVER_OPTIONS_H_
