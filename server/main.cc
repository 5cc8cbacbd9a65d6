// paramd-server: holds and updates the weights of the jobs that a coordinator gives it. See --help and server.h.
#include <cstdlib>
#include <memory>

#include "common/base/status_macros.h"
#include "common/config/daemon_main.h"
#include "common/rpc/termination.h"
#include "server/options.h"
#include "server/server.h"

namespace {

void AddFlags(CLI::App& app, paramd::ServerOptions& options) {
  paramd::AddDaemonFlags(app, options);
  app.add_option("--coordinator", options.coordinator, "host:port of the coordinator, or several separated by commas");
  app.add_option("--threads", options.threads, "owner threads; 0: one per hardware thread");
  app.add_option("--memory-limit", options.memory_limit, "memory for jobs: 8GiB, 500MB, 80%");
  app.add_option("--output-dir", options.output_dir, "where weights are saved");
  paramd::AddDurationFlag(app, "--request-timeout", options.request_timeout, "how long a pull may wait, e.g. 60s");
  paramd::AddDurationFlag(app, "--orphan-timeout", options.orphan_timeout,
                          "how long jobs are kept while no coordinator answers");
  app.add_option("--local-socket", options.local_socket.place, "unix socket for workers on this host: auto, off, PATH");
  paramd::AddSwitchFlag(app, "--shared-memory", options.shared_memory,
                        "payloads of workers on this host through their memory");
}

absl::Status Run(const paramd::ServerOptions& options) {
  ASSIGN_OR_RETURN(const auto server, paramd::ParameterServer::Start(options, paramd::RequestTermination));
  server->Stop(paramd::WaitForStopReason());
  return server->fatal();
}

}  // namespace

int main(int argc, char** argv) {
  paramd::ServerOptions options;
  if (const char* directory = std::getenv("XDG_RUNTIME_DIR")) options.local_socket.runtime_dir = directory;
  return paramd::RunDaemon({.name = "paramd-server",
                            .description = "Holds and updates the weights of paramd's training jobs.",
                            .add_flags = [&options](CLI::App& app) { AddFlags(app, options); },
                            .validate = [&options] { return options.Validate(); },
                            .log_level = options.log_level,
                            .run = [&options] { return Run(options); }},
                           argc, argv);
}
