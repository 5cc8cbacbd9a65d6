// What the daemons' mains have in common: flags, and the frame around the run.
//
//   int main(int argc, char** argv) {
//     ServerOptions options;
//     return RunDaemon({.name = "paramd-server",
//                       .description = "Holds and updates the weights of paramd's training jobs.",
//                       .add_flags = [&](CLI::App& app) { AddDaemonFlags(app, options); },
//                       .validate = [&] { return options.Validate(); },
//                       .log_level = options.log_level,
//                       .run = [&] { return Run(options); }},
//                      argc, argv);
//   }
//
// Not thread safe: part of main.
#ifndef PARAMD_COMMON_CONFIG_DAEMON_MAIN_H_
#define PARAMD_COMMON_CONFIG_DAEMON_MAIN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/credentials.h"

namespace paramd {

// One more flag each; a value that cannot be understood is a CLI::ValidationError.
void AddDurationFlag(CLI::App& app, const std::string& flag, absl::Duration& value, const std::string& help);
// "on" or "off".
void AddSwitchFlag(CLI::App& app, const std::string& flag, bool& value, const std::string& help);
// As ParseBytesFlag, without percentages; "0" is 0.
void AddBytesFlag(CLI::App& app, const std::string& flag, int64_t& value, const std::string& help);
// One of the words. `value` must be among them.
template <typename T>
void AddChoiceFlag(CLI::App& app, const std::string& flag, T& value, std::vector<std::pair<std::string, T>> words,
                   const std::string& help) {
  std::string present, all;
  for (const auto& [word, meaning] : words) {
    if (meaning == value) present = word;
    all += (all.empty() ? "" : ", ") + word;
  }
  const auto set = [&value, flag, words, all](const std::string& text) {
    for (const auto& [word, meaning] : words) {
      if (word == text) return void(value = meaning);
    }
    throw CLI::ValidationError(flag, "must be one of " + all + ", got " + text);
  };
  app.add_option_function<std::string>(flag, set, help + ": " + all)->default_str(present);
}

void AddTlsFlags(CLI::App& app, TlsOptions& options);

// The fields of a daemon's options that all daemons have.
struct DaemonFields {
  std::string& listen;
  std::string& advertise;
  std::string& metrics_listen;
  std::string& node_id;
  std::string& log_level;
  std::string& port_file;
  TlsOptions& tls;
};
void AddDaemonFlags(CLI::App& app, DaemonFields fields);

template <typename Options>
void AddDaemonFlags(CLI::App& app, Options& options) {
  AddDaemonFlags(app, DaemonFields{options.listen, options.advertise, options.metrics_listen, options.node_id,
                                   options.log_level, options.port_file, options.tls});
}

struct DaemonProgram {
  std::string name;
  std::string description;
  std::function<void(CLI::App&)> add_flags;
  std::function<absl::Status()> validate;  // After the flags were parsed.
  const std::string& log_level;
  std::function<absl::Status()> run;  // Until a signal or a failure.
};

// Exit code: 0 clean, 1 when `run` fails, 2 for wrong flags; errors go to stderr in one line. Arms the failpoints of
// the environment variable PARAMD_FAILPOINTS (docs/failpoints.md), and logs at the end how often they fired.
int RunDaemon(const DaemonProgram& program, int argc, char** argv);

// Waits for SIGTERM, SIGINT or RequestTermination; says which, for the log.
std::string WaitForStopReason();

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_DAEMON_MAIN_H_
