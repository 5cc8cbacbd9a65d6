// What communication costs: tokens per second of a worker and a server in processes of their own, each on a core of its
// own, against the same training in one process on one core, in interleaved rounds.
//
//   bazel run //tests/bench:comm_tax -- $PWD/deploy/examples/gpt-austen.yaml [--rounds 5] [--steps 40] [--json]
//       [--set optimizer.type=sgd]
//
// The job is trained on generated text, with one worker, without evaluation. The server's core
// runs the coordinator, too. 1 means that communication is free, or hidden behind computing; more is possible, because
// the optimizer runs on the server's core.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/spec_overrides.h"
#include "common/base/file.h"
#include "common/base/ids.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "tests/bench/child_process.h"
#include "tests/bench/comm_tax_roles.h"
#include "tests/bench/median.h"

namespace paramd {
namespace {

using nlohmann::json;

constexpr int kServerCpu = 0;
constexpr int kWorkerCpu = 1;
constexpr int kTextBytes = 1 << 20;
constexpr absl::Duration kLimit = absl::Minutes(5);

struct Flags {
  std::string role;  // Set in child processes.
  std::string job;
  std::vector<std::string> overrides;
  int rounds = 5;
  int steps = 40;
  bool json = false;
};

// A directory of this run, removed at its end.
class Directory {
 public:
  Directory() : path_(absl::StrCat(std::filesystem::temp_directory_path().string(), "/paramd-tax-", RandomSuffix(8))) {}
  ~Directory() { RemoveTree(path_).IgnoreError(); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// Letters at random: every step costs the same, whatever the text.
absl::Status WriteText(const std::string& path) {
  Philox random(/*seed=*/1, RandomStream::kTest);
  std::string text(kTextBytes, ' ');
  for (char& c : text) c = static_cast<char>('a' + random.Below(26));
  return AtomicWriteFile(path, text);
}

absl::StatusOr<std::string> JobText(const Flags& flags, const std::string& directory) {
  RETURN_IF_ERROR(WriteText(directory + "/text.txt"));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.job, 1 << 20));
  std::vector<std::string> overrides = {absl::StrCat("data.text.files=[", directory, "/text.txt]"),
                                        "data.text.validation_fraction=0",
                                        "training.sample.tokens=0",
                                        "training.evaluate_every=0",
                                        "resources.workers=1",
                                        "resources.servers=1",
                                        absl::StrCat("training.steps=", flags.steps)};
  overrides.insert(overrides.end(), flags.overrides.begin(), flags.overrides.end());
  return ApplyOverrides(text, overrides);
}

absl::StatusOr<double> TokensPerSecond(ChildProcess& child, const std::string& job) {
  ASSIGN_OR_RETURN(const json answer, child.Call({{"command", "train"}, {"job", job}}, kLimit));
  return answer.value("tokens_per_s", 0.0);
}

struct Rounds {
  std::vector<double> local;
  std::vector<double> pair;
  std::vector<double> ratio;
};

absl::StatusOr<Rounds> Measure(const Flags& flags, const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string job, JobText(flags, directory));
  ASSIGN_OR_RETURN(auto local, ChildProcess::Start({.arguments = {flags.job, "--role=local"}, .cpu = kWorkerCpu}));
  ASSIGN_OR_RETURN(auto server, ChildProcess::Start({.arguments = {flags.job, "--role=server"}, .cpu = kServerCpu}));
  ASSIGN_OR_RETURN(auto worker, ChildProcess::Start({.arguments = {flags.job, "--role=worker"}, .cpu = kWorkerCpu}));
  ASSIGN_OR_RETURN(const json cluster, server->Call({{"command", "setup"}, {"directory", directory}}));
  RETURN_IF_ERROR(worker->Call({{"command", "setup"}, {"coordinator", cluster.value("address", "")}}).status());
  Rounds rounds;
  for (int round = 0; round < flags.rounds; ++round) {
    ASSIGN_OR_RETURN(const double alone, TokensPerSecond(*local, job));
    ASSIGN_OR_RETURN(const double together, TokensPerSecond(*server, job));
    rounds.local.push_back(alone);
    rounds.pair.push_back(together);
    rounds.ratio.push_back(together / alone);
    std::fprintf(stderr, "round %d/%d: %.0f alone, %.0f as a pair\n", round + 1, flags.rounds, alone, together);
  }
  return rounds;
}

absl::Status Run(const Flags& flags) {
  const Directory directory;
  RETURN_IF_ERROR(EnsureDirectory(directory.path()));
  ASSIGN_OR_RETURN(const Rounds rounds, Measure(flags, directory.path()));
  const double local = Median(rounds.local), pair = Median(rounds.pair), ratio = Median(rounds.ratio);
  if (flags.json) {
    std::printf("%s\n",
                json{{"local_tokens_per_s", local}, {"pair_tokens_per_s", pair}, {"ratio", ratio}}.dump().c_str());
  } else {
    std::printf("one process, one core: %.0f tokens/s\nworker and server: %.0f tokens/s\nratio: %.3f (goal 0.92)\n",
                local, pair, ratio);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace paramd

int main(int argc, char** argv) {
  paramd::Flags flags;
  CLI::App app("Training by a worker and a server against training in one process.", "comm_tax");
  app.option_defaults()->always_capture_default();
  app.add_option("job", flags.job, "job specification of a language model")->required();
  app.add_option("--set", flags.overrides, "change a field of the job: path=value (repeatable)");
  app.add_option("--rounds", flags.rounds, "interleaved rounds; medians are printed")->check(CLI::Range(1, 1000));
  app.add_option("--steps", flags.steps, "of each training")->check(CLI::Range(4, 100000));
  app.add_flag("--json", flags.json, "print one JSON object");
  app.add_option("--role", flags.role, "of a child process")->group("");
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGPIPE, SIG_IGN);  // A child that ended is an error like others.
  if (!flags.role.empty()) return paramd::RunTaxRole(flags.role);
  const absl::Status status = paramd::Run(flags);
  if (!status.ok()) std::fprintf(stderr, "comm_tax: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
