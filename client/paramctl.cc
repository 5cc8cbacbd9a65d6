#include "client/paramctl.h"

#include <algorithm>
#include <exception>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/exit_code.h"
#include "client/invocation.h"
#include "common/config/suggest.h"

namespace paramd {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  paramctl submit -f deploy/examples/gpt-austen.yaml --watch\n"
    "  paramctl list --state running\n"
    "  paramctl wait JOB --for=state=SUCCEEDED --timeout 1h\n"
    "  paramctl generate JOB --prompt 'She was' --tokens 300\n"
    "  paramctl trace JOB --steps 3 > trace.json\n\n"
    "Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 permission, 5 unavailable, 6 conflict, 8 job FAILED,\n"
    "9 job CANCELLED, 124 wait timed out, 130 interrupted.";

void AddGlobalFlags(CLI::App& app, GlobalOptions& options) {
  app.add_option("--coordinator", options.coordinator_flag,
                 absl::StrCat("host:port of the coordinator, or several separated by commas; else "
                              "PARAMCTL_COORDINATOR, else `coordinator:` in "
                              "~/.config/paramctl/config.yaml, else ",
                              kDefaultCoordinator));
  app.add_option("-o,--output", options.output, "table, json or yaml")->capture_default_str();
  app.add_option("--tls-ca", options.tls_flags.ca,
                 "PEM file: the authorities of the cluster's certificates; turns TLS on");
  app.add_option("--tls-cert", options.tls_flags.cert,
                 "PEM file: a certificate of your own, where the cluster wants one");
  app.add_option("--tls-key", options.tls_flags.key, "PEM file: its private key");
  app.add_option("--tls-server-name", options.tls_flags.server_name,
                 "Name expected in the cluster's certificates (default: the host of the address)");
  app.add_option("--request-timeout", options.request_timeout_text, "How long one request may take")
      ->capture_default_str();
}

std::vector<std::string> VerbNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

void AppendFlagNames(const CLI::App& app, std::vector<std::string>& names) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(absl::StrCat("--", name));
  }
}

// "unknown verb "sumbit"; did you mean "submit"?" for the first word that nobody wanted, "" when there is none.
std::string UnknownWord(const CLI::App& app) {
  const std::vector<std::string> remaining = app.remaining(true);
  if (remaining.empty()) return "";
  const std::string word = remaining.front().substr(0, remaining.front().find('='));
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  const bool flag = absl::StartsWith(word, "-");
  std::vector<std::string> known;
  if (flag) {
    AppendFlagNames(app, known);
    if (!parsed.empty()) AppendFlagNames(*parsed.front(), known);
  } else if (parsed.empty()) {
    known = VerbNames(app);
  }
  const std::string kind = flag ? "flag" : parsed.empty() ? "verb" : "argument";
  const std::string closest = Suggest(word, known);
  return absl::StrCat("unknown ", kind, " \"", word, "\"",
                      closest.empty() ? "" : absl::StrCat("; did you mean \"", closest, "\"?"));
}

int ReportParseError(const CLI::App& app, const CLI::ParseError& error, const Environment& environment) {
  if (error.get_exit_code() == 0) {  // --help
    app.exit(error, environment.out, environment.err);
    return kExitOk;
  }
  const std::string unknown = UnknownWord(app);
  environment.err << "error: " << (unknown.empty() ? error.what() : unknown) << "\nSee paramctl --help.\n"
                  << std::flush;
  return kExitUsage;
}

int ParseAndRun(const std::vector<std::string>& arguments, Environment& environment) {
  Invocation invocation{.environment = environment, .options = {}, .run = nullptr};
  CLI::App app("paramctl: submits, follows and ends training jobs of a paramd cluster", "paramctl");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  AddGlobalFlags(app, invocation.options);
  AddSubmitVerb(app, invocation);
  AddJobVerbs(app, invocation);
  AddCheckpointVerbs(app, invocation);
  AddScaleVerb(app, invocation);
  AddWatchVerbs(app, invocation);
  AddGenerateVerb(app, invocation);
  AddTraceVerb(app, invocation);
  AddNodeVerbs(app, invocation);
  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) verb->fallthrough();
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 wants them in reverse.
  } catch (const CLI::ParseError& error) {
    return ReportParseError(app, error, environment);
  }
  return invocation.run();
}

}  // namespace

int RunParamctl(const std::vector<std::string>& arguments, Environment& environment) {
  try {
    return ParseAndRun(arguments, environment);
  } catch (const std::exception& exception) {
    environment.err << "error: " << exception.what() << "\n" << std::flush;
    return kExitError;
  }
}

}  // namespace paramd
