// Runs a daemon's gRPC server: listen on TCP and, if wanted, on a unix socket; health, reflection, drain.
//
//   ServerRunner runner({.listen_address = "0.0.0.0:7070"});
//   runner.AddService(&service, "paramd.v1.JobService");
//   RETURN_IF_ERROR(runner.Start());          // runner.port() is the bound port (listen on :0 for any free one)
//   runner.SetServing(true);
//   WaitForTermination();                      // SIGTERM, SIGINT
//   runner.Drain(absl::Seconds(10));
//
// Not thread safe, except SetServing.
#ifndef PARAMD_COMMON_RPC_SERVER_RUNNER_H_
#define PARAMD_COMMON_RPC_SERVER_RUNNER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/channel_arguments.h"
#include "common/rpc/credentials.h"
#include "common/rpc/local_socket.h"
#include "common/rpc/termination.h"  // BlockTerminationSignals, WaitForTermination: part of every main.
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace prometheus {
class Registry;
}

namespace paramd {

struct ServerRunnerOptions {
  std::string listen_address;  // host:port.
  LocalSocketOptions local_socket;
  std::shared_ptr<const Credentials> credentials;  // Of the TCP port; must have server(). Null: plain text.
  int64_t max_message_bytes = 4 * 1024 * 1024;
  ChannelKind kind = ChannelKind::kControl;
  BulkTransportOptions bulk;  // Of kBulk.
  bool reflection = true;
  std::shared_ptr<prometheus::Registry> registry;  // Gets the grpc_server_* families; may be null.
};

class ServerRunner {
 public:
  explicit ServerRunner(ServerRunnerOptions options);
  ~ServerRunner();

  // Before Start. The service must outlive the runner; `name` is its full name for health checks.
  void AddService(grpc::Service* service, const std::string& name);
  // kUnavailable (reason ADDRESS_IN_USE, LISTEN_FAILED or LOCAL_SOCKET_FAILED) when it cannot listen; an automatic
  // local socket that cannot be had is a warning in the log. Health starts as NOT_SERVING for the named services and
  // SERVING for "".
  absl::Status Start();
  int port() const { return port_; }
  // unix:PATH of the same services, "" when there is none. Nobody finds it any more once Drain has begun.
  std::string local_address() const { return local_socket_ == nullptr ? "" : local_socket_->address(); }
  // Health of the named services. Nothing happens before Start and after Drain.
  void SetServing(bool serving);
  // Health to NOT_SERVING, then no new calls, open ones end or are cancelled after `grace`. Idempotent.
  void Drain(absl::Duration grace);

 private:
  absl::Status PrepareLocalSocket();
  absl::Status Listen(grpc::ServerBuilder& builder);

  ServerRunnerOptions options_;
  std::vector<std::pair<grpc::Service*, std::string>> services_;
  std::unique_ptr<LocalSocket> local_socket_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  bool drained_ = false;
};

// The address peers should use: `advertise` if set, else the listen address with a wildcard host replaced by this
// host's name and port 0 by `port`.
std::string AdvertisedAddress(const std::string& advertise, const std::string& listen_address, int port);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_SERVER_RUNNER_H_
