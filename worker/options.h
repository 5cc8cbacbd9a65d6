// The worker's settings, as main's flags fill them.
//
//   WorkerOptions options = {.listen = "127.0.0.1:0", .coordinator = "127.0.0.1:7070"};
//   RETURN_IF_ERROR(options.Validate());
#ifndef PARAMD_WORKER_OPTIONS_H_
#define PARAMD_WORKER_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "common/rpc/credentials.h"
#include "worker/parameter_client/data_plane_options.h"

namespace paramd {

struct WorkerOptions {
  std::string listen = "0.0.0.0:7072";          // gRPC: inference, health, reflection. Port 0 takes a free one.
  std::string advertise;                        // host:port that peers reach it at; default: from `listen`.
  std::string metrics_listen = "0.0.0.0:9072";  // HTTP: metrics and health.
  std::string coordinator = "127.0.0.1:7070";
  std::string node_id;  // Unique in the cluster; default: <host name>-worker-<port>.
  std::string log_level = "info";
  std::string port_file;  // Gets {"port":N,"metrics_port":M} once both listen. Empty: none.
  int threads = 1;        // Compute threads per job, 1..1024.
  int job_capacity = 1;   // Jobs at a time, 1..64.
  DataPlaneOptions data_plane;
  TlsOptions tls;

  // kInvalidArgument, INVALID_FLAG, with the flag's name.
  absl::Status Validate() const;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_OPTIONS_H_
