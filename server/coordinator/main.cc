// paramd-coordinator: accepts jobs, places them, and watches over daemons. See --help and coordinator_server.h.
#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "common/base/logging.h"
#include "common/config/version.h"
#include "common/rpc/termination.h"
#include "server/coordinator/coordinator_server.h"
#include "server/coordinator/options.h"

namespace {

void AddDuration(CLI::App& app, const std::string& flag, absl::Duration& value, const std::string& help) {
  const auto set = [&value, flag](const std::string& text) {
    if (!absl::ParseDuration(text, &value)) throw CLI::ValidationError(flag, "not a duration like 10s: " + text);
  };
  app.add_option_function<std::string>(flag, set, help)->default_str(absl::FormatDuration(value));
}

void AddFlags(CLI::App& app, paramd::CoordinatorServerOptions& options) {
  app.option_defaults()->always_capture_default();
  app.add_option("--listen", options.listen, "host:port for gRPC; port 0 takes a free one");
  app.add_option("--advertise", options.advertise, "host:port to announce in the log as this coordinator's");
  app.add_option("--metrics-listen", options.metrics_listen, "host:port for /metrics, /healthz and /readyz");
  app.add_option("--node-id", options.node_id, "name that daemons see (default: made from the host name)");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warning or error");
  app.add_option("--port-file", options.port_file, "write the ports taken to this file, as JSON");
  app.add_option("--data-dir", options.data_dir, "directory of the job store");
  AddDuration(app, "--lease", options.lease, "a daemon not heard from for so long is dead");
  AddDuration(app, "--heartbeat", options.heartbeat, "how often daemons report; 0 for a fifth of the lease");
  AddDuration(app, "--restart-grace", options.restart_grace, "beyond a lease, for daemons to return after a restart");
  AddDuration(app, "--preparing-timeout", options.preparing_timeout, "for servers, then workers, to take up a job");
  AddDuration(app, "--stopping-timeout", options.stopping_timeout, "for workers to stop at a common step");
  AddDuration(app, "--saving-timeout", options.saving_timeout, "for the lead server to write the weights");
  AddDuration(app, "--releasing-timeout", options.releasing_timeout, "for daemons to let go of a job");
  app.set_version_flag("--version", std::string("paramd-coordinator ") + paramd::kVersion);
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "paramd-coordinator: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  paramd::BlockTerminationSignals();
  paramd::CoordinatorServerOptions options;
  CLI::App app("Accepts paramd's training jobs, places them, and watches over the daemons.", "paramd-coordinator");
  try {
    AddFlags(app, options);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status logging = paramd::InitLogging("paramd-coordinator", options.log_level);
  if (!logging.ok()) return Fail(logging);
  paramd::CoordinatorServer server(options);
  if (absl::Status status = server.Start(); !status.ok()) return Fail(status);
  paramd::WaitForTermination();
  server.Stop();
  return 0;
}
