// paramd-server: holds and updates the weights of the jobs that a coordinator gives it. See --help and server.h.
#include <cstdio>
#include <cstring>
#include <string>

#include "CLI/CLI.hpp"
#include "common/base/logging.h"
#include "common/config/version.h"
#include "common/rpc/termination.h"
#include "server/options.h"
#include "server/server.h"

namespace {

constexpr int kRuntimeError = 1;
constexpr int kBadFlags = 2;

void AddFlags(CLI::App& app, paramd::ServerOptions& options) {
  app.option_defaults()->always_capture_default();
  app.add_option("--listen", options.listen, "host:port for gRPC; port 0 takes a free one");
  app.add_option("--advertise", options.advertise, "host:port that peers reach this server at");
  app.add_option("--metrics-listen", options.metrics_listen, "host:port for /metrics, /healthz and /readyz");
  app.add_option("--coordinator", options.coordinator, "host:port of the coordinator");
  app.add_option("--node-id", options.node_id, "name in the cluster (default: <host>-server-<port>)");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warning or error");
  app.add_option("--port-file", options.port_file, "write the ports taken to this file, as JSON");
  app.add_option("--threads", options.threads, "owner threads; 0: one per hardware thread");
  app.add_option("--memory-limit", options.memory_limit, "memory for jobs: 8GiB, 500MB, 80%");
  app.add_option("--output-dir", options.output_dir, "where weights are saved");
  app.add_option("--request-timeout", options.request_timeout, "how long a pull may wait, e.g. 60s");
  app.set_version_flag("--version", std::string("paramd-server ") + paramd::kVersion);
}

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "paramd-server: %s\n", std::string(status.message()).c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  paramd::BlockTerminationSignals();
  paramd::ServerOptions options;
  CLI::App app("Holds and updates the weights of paramd's training jobs.", "paramd-server");
  try {
    AddFlags(app, options);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadFlags;
  }
  if (absl::Status status = options.Validate(); !status.ok()) return Fail(status, kBadFlags);
  if (absl::Status status = paramd::InitLogging("paramd-server", options.log_level); !status.ok()) {
    return Fail(status, kBadFlags);
  }
  auto server = paramd::ParameterServer::Start(options, paramd::RequestTermination);
  if (!server.ok()) return Fail(server.status(), kRuntimeError);
  const int signal = paramd::WaitForTermination();
  (*server)->Stop(signal == 0 ? "refused by the coordinator" : strsignal(signal));
  const absl::Status fatal = (*server)->fatal();
  return fatal.ok() ? 0 : Fail(fatal, kRuntimeError);
}
