// paramd-worker: computes gradients for the jobs that a coordinator gives it. See --help and worker.h.
#include <cstdio>

#include "CLI/CLI.hpp"
#include "common/base/logging.h"
#include "common/config/version.h"
#include "common/rpc/termination.h"
#include "worker/options.h"
#include "worker/worker.h"

namespace {

constexpr int kRuntimeError = 1;
constexpr int kBadFlags = 2;

void AddFlags(CLI::App& app, paramd::WorkerOptions& options) {
  app.option_defaults()->always_capture_default();
  app.add_option("--listen", options.listen, "host:port for gRPC; port 0 takes a free one");
  app.add_option("--advertise", options.advertise, "host:port that peers reach this worker at");
  app.add_option("--metrics-listen", options.metrics_listen, "host:port for /metrics, /healthz and /readyz");
  app.add_option("--coordinator", options.coordinator, "host:port of the coordinator");
  app.add_option("--node-id", options.node_id, "name in the cluster (default: <host>-worker-<port>)");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warning or error");
  app.add_option("--port-file", options.port_file, "write the ports taken to this file, as JSON");
  app.add_option("--threads", options.threads, "compute threads per job");
  app.add_option("--job-capacity", options.job_capacity, "jobs at a time");
  app.set_version_flag("--version", std::string("paramd-worker ") + paramd::kVersion);
}

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "paramd-worker: %s\n", std::string(status.message()).c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  paramd::BlockTerminationSignals();
  paramd::WorkerOptions options;
  CLI::App app("Computes gradients for paramd's training jobs.", "paramd-worker");
  try {
    AddFlags(app, options);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadFlags;
  }
  if (absl::Status status = options.Validate(); !status.ok()) return Fail(status, kBadFlags);
  if (absl::Status status = paramd::InitLogging("paramd-worker", options.log_level); !status.ok()) {
    return Fail(status, kBadFlags);
  }
  auto worker = paramd::Worker::Start(options, paramd::RequestTermination);
  if (!worker.ok()) return Fail(worker.status(), kRuntimeError);
  const int signal = paramd::WaitForTermination();
  (*worker)->Stop(signal == 0 ? "refused by the coordinator" : strsignal(signal));
  const absl::Status fatal = (*worker)->fatal();
  return fatal.ok() ? 0 : Fail(fatal, kRuntimeError);
}
