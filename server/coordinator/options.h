// The coordinator's settings, as main's flags fill them.
//
//   CoordinatorServerOptions options = {.listen = "127.0.0.1:0", .data_dir = "/var/lib/paramd"};
//   RETURN_IF_ERROR(options.Validate());
#ifndef PARAMD_SERVER_COORDINATOR_OPTIONS_H_
#define PARAMD_SERVER_COORDINATOR_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rpc/credentials.h"

namespace paramd {

// Where jobs are kept: --store.
struct StoreLocation {
  std::string sqlite_path;                  // Empty: etcd.
  std::vector<std::string> etcd_endpoints;  // host:port.
};

// "sqlite:PATH" or "etcd:HOST:PORT[,HOST:PORT]...". kInvalidArgument, INVALID_FLAG.
absl::StatusOr<StoreLocation> ParseStoreFlag(absl::string_view text);

struct CoordinatorServerOptions {
  std::string listen = "0.0.0.0:7070";  // gRPC. Port 0 takes a free one.
  std::string advertise;                // host:port that clients and daemons reach it at; default: from `listen`.
  std::string metrics_listen = "0.0.0.0:9070";  // HTTP: metrics and health.
  std::string node_id;                          // Default: <host name>-coordinator-<6 random characters>.
  std::string log_level = "info";
  std::string port_file;                 // Gets {"port":N,"metrics_port":M} once both listen. Empty: none.
  std::string data_dir = "paramd-data";  // Holds paramd.db; created when missing. Not used when `store` is set.
  std::string store;                     // Default: sqlite:<data_dir>/paramd.db.
  std::string etcd_prefix = "/paramd/";  // With etcd: before all keys; one for each cluster.
  absl::Duration leader_lease = absl::Seconds(3);   // With etcd: whole seconds, at most half of `lease`.
  absl::Duration lease = absl::Seconds(10);         // 100 ms to an hour.
  absl::Duration heartbeat = absl::ZeroDuration();  // Zero: a fifth of the lease.
  absl::Duration restart_grace = absl::Seconds(5);  // On top of a lease, for daemons to come back after a restart.
  absl::Duration workers_timeout = absl::Minutes(10);
  int max_recoveries = 5;                                 // 0 to 1000; job_machine.h.
  absl::Duration preparing_timeout = absl::Seconds(120);  // This and the next three: job_machine.h.
  absl::Duration stopping_timeout = absl::Seconds(60);
  absl::Duration saving_timeout = absl::Seconds(120);
  absl::Duration releasing_timeout = absl::Seconds(10);
  TlsOptions tls;

  absl::Duration EffectiveHeartbeat() const { return heartbeat > absl::ZeroDuration() ? heartbeat : lease / 5; }

  // `store`, or its default. INVALID_FLAG.
  absl::StatusOr<StoreLocation> ParseStore() const;

  // Creates data_dir when missing and needed. kInvalidArgument, INVALID_FLAG, with the flag's name.
  absl::Status Validate() const;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_OPTIONS_H_
