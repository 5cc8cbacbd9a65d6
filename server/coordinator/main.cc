// paramd-coordinator: accepts jobs, places them, and watches over daemons. See --help and coordinator_server.h.
#include "common/base/status_macros.h"
#include "common/config/daemon_main.h"
#include "server/coordinator/coordinator_server.h"
#include "server/coordinator/options.h"

namespace {

void AddFlags(CLI::App& app, paramd::CoordinatorServerOptions& options) {
  using paramd::AddDurationFlag;
  paramd::AddDaemonFlags(app, options);
  app.add_option("--data-dir", options.data_dir, "directory of the job store, unless --store says otherwise");
  app.add_option("--store", options.store,
                 "the job store: sqlite:PATH, or etcd:HOST:PORT[,HOST:PORT]... with standbys; else "
                 "sqlite:<--data-dir>/paramd.db");
  app.add_option("--etcd-prefix", options.etcd_prefix, "with etcd: before all keys; one for each cluster");
  AddDurationFlag(app, "--leader-lease", options.leader_lease,
                  "with etcd: a leader not heard from for so long is deposed");
  AddDurationFlag(app, "--lease", options.lease, "a daemon not heard from for so long is dead");
  AddDurationFlag(app, "--heartbeat", options.heartbeat, "how often daemons report; 0 for a fifth of the lease");
  AddDurationFlag(app, "--restart-grace", options.restart_grace, "beyond a lease, for daemons to return");
  AddDurationFlag(app, "--workers-timeout", options.workers_timeout,
                  "how long a job whose workers are all gone waits for one");
  app.add_option("--max-recoveries", options.max_recoveries,
                 "how often a job that has lost a server starts again without getting further; 0: it fails");
  AddDurationFlag(app, "--preparing-timeout", options.preparing_timeout, "for servers, then workers, to take up a job");
  AddDurationFlag(app, "--stopping-timeout", options.stopping_timeout, "for workers to stop at a common step");
  AddDurationFlag(app, "--saving-timeout", options.saving_timeout, "for the lead server to write the weights");
  AddDurationFlag(app, "--releasing-timeout", options.releasing_timeout, "for daemons to let go of a job");
}

absl::Status Run(const paramd::CoordinatorServerOptions& options) {
  paramd::CoordinatorServer server(options);
  RETURN_IF_ERROR(server.Start());
  paramd::WaitForStopReason();
  server.Stop();
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  paramd::CoordinatorServerOptions options;
  return paramd::RunDaemon({.name = "paramd-coordinator",
                            .description = "Accepts paramd's training jobs, places them, and watches over the daemons.",
                            .add_flags = [&options](CLI::App& app) { AddFlags(app, options); },
                            .validate = [&options] { return options.Validate(); },
                            .log_level = options.log_level,
                            .run = [&options] { return Run(options); }},
                           argc, argv);
}
