// paramd-worker: computes gradients for the jobs that a coordinator gives it. See --help and worker.h.
#include <memory>

#include "common/base/status_macros.h"
#include "common/config/daemon_main.h"
#include "common/rpc/termination.h"
#include "worker/options.h"
#include "worker/worker.h"

namespace {

void AddDataPlaneFlags(CLI::App& app, paramd::DataPlaneOptions& options) {
  using paramd::ChecksumPolicy;
  using paramd::TransportPolicy;
  paramd::AddChoiceFlag<TransportPolicy>(
      app, "--transport", options.transport,
      {{"auto", TransportPolicy::kAuto}, {"tcp", TransportPolicy::kTcp}, {"unix", TransportPolicy::kUnix}},
      "how to reach servers");
  paramd::AddSwitchFlag(app, "--shared-memory", options.shared_memory,
                        "payloads to servers on this host through memory");
  paramd::AddChoiceFlag<ChecksumPolicy>(app, "--checksum", options.checksum,
                                        {{"auto", ChecksumPolicy::kAuto}, {"always", ChecksumPolicy::kAlways}},
                                        "of payloads");
  app.add_option("--streams-per-server", options.streams_per_server, "connections to each server, per job");
  paramd::AddBytesFlag(app, "--max-bytes-in-flight", options.max_bytes_in_flight,
                       "of pushes to a server that it has not acknowledged; 0: no bound");
}

void AddFlags(CLI::App& app, paramd::WorkerOptions& options) {
  paramd::AddDaemonFlags(app, options);
  app.add_option("--coordinator", options.coordinator, "host:port of the coordinator, or several separated by commas");
  app.add_option("--threads", options.threads, "compute threads per job");
  app.add_option("--job-capacity", options.job_capacity, "jobs at a time");
  AddDataPlaneFlags(app, options.data_plane);
}

absl::Status Run(const paramd::WorkerOptions& options) {
  ASSIGN_OR_RETURN(const auto worker, paramd::Worker::Start(options, paramd::RequestTermination));
  worker->Stop(paramd::WaitForStopReason());
  return worker->fatal();
}

}  // namespace

int main(int argc, char** argv) {
  paramd::WorkerOptions options;
  return paramd::RunDaemon({.name = "paramd-worker",
                            .description = "Computes gradients for paramd's training jobs.",
                            .add_flags = [&options](CLI::App& app) { AddFlags(app, options); },
                            .validate = [&options] { return options.Validate(); },
                            .log_level = options.log_level,
                            .run = [&options] { return Run(options); }},
                           argc, argv);
}
