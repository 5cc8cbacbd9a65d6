// What the command line asked for, filled by CLI11 and then run: parsing and doing stay apart.
//
// Each verb group adds its subcommands to the app; a parsed subcommand leaves a function in `run`. Not thread safe.
#ifndef PARAMD_CLIENT_INVOCATION_H_
#define PARAMD_CLIENT_INVOCATION_H_

#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cluster_client.h"
#include "client/environment.h"
#include "client/global_options.h"

namespace paramd {

struct Invocation {
  Environment& environment;
  GlobalOptions options;
  std::function<int()> run;  // Returns the exit code.

  // A client of the coordinator the options name.
  absl::StatusOr<std::unique_ptr<ClusterClient>> Connect() const;
  // Prints "error: ..." and returns the exit code for it.
  int Fail(const absl::Status& status) const;
  // kExitOk for OK, else Fail.
  int Exit(const absl::Status& status) const;
};

// The verb groups, one per *_verbs.cc. `invocation` must outlive the app.
void AddSubmitVerb(CLI::App& app, Invocation& invocation);       // submit
void AddJobVerbs(CLI::App& app, Invocation& invocation);         // get, list, describe, events, cancel, delete
void AddCheckpointVerbs(CLI::App& app, Invocation& invocation);  // pause, resume, checkpoint ...
void AddScaleVerb(CLI::App& app, Invocation& invocation);        // scale
void AddWatchVerbs(CLI::App& app, Invocation& invocation);       // watch, wait
void AddGenerateVerb(CLI::App& app, Invocation& invocation);     // generate
void AddTraceVerb(CLI::App& app, Invocation& invocation);        // trace
void AddNodeVerbs(CLI::App& app, Invocation& invocation);        // nodes, version

// A subcommand that takes one job id as its argument.
CLI::App* AddJobVerb(CLI::App& app, const std::string& name, const std::string& help, std::string& job_id);

// Shows the job until it is over, for `watch` and `submit --watch`; returns the exit code.
int WatchAndReport(const Invocation& invocation, ClusterClient& client, const std::string& job_id);

}  // namespace paramd

#endif  // PARAMD_CLIENT_INVOCATION_H_
