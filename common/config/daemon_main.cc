#include "common/config/daemon_main.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/status/statusor.h"
#include "common/base/allocator.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/logging.h"
#include "common/config/flag_checks.h"
#include "common/config/version.h"
#include "common/rpc/grpc_log.h"
#include "common/rpc/termination.h"
#include "spdlog/spdlog.h"

namespace paramd {
namespace {

constexpr int kRuntimeError = 1;
constexpr int kBadFlags = 2;
constexpr char kFailpointVariable[] = "PARAMD_FAILPOINTS";

int Fail(const DaemonProgram& program, const absl::Status& status, int code) {
  std::fprintf(stderr, "%s: %s\n", program.name.c_str(), std::string(status.message()).c_str());
  return code;
}

// Rules of a test for a whole process come from outside it. A typing error must not pass for a test without faults.
absl::Status ArmFromEnvironment() {
  const char* rules = std::getenv(kFailpointVariable);
  if (rules == nullptr || *rules == '\0') return absl::OkStatus();
  if (const absl::Status status = ArmFailpoints(rules); !status.ok()) return Annotate(status, kFailpointVariable);
  spdlog::warn("failpoints are armed, this is a test: {}", rules);
  return absl::OkStatus();
}

void LogFailpoints() {
  for (const FailpointCount& count : CountFailpoints()) {
    spdlog::info("failpoint {}: {} hits, {} fired", std::string(InfoOf(count.point).name), count.hits, count.fired);
  }
}

}  // namespace

void AddDurationFlag(CLI::App& app, const std::string& flag, absl::Duration& value, const std::string& help) {
  const auto set = [&value, flag](const std::string& text) {
    if (!absl::ParseDuration(text, &value)) throw CLI::ValidationError(flag, "not a duration like 10s: " + text);
  };
  app.add_option_function<std::string>(flag, set, help)->default_str(absl::FormatDuration(value));
}

void AddSwitchFlag(CLI::App& app, const std::string& flag, bool& value, const std::string& help) {
  AddChoiceFlag<bool>(app, flag, value, {{"on", true}, {"off", false}}, help);
}

void AddBytesFlag(CLI::App& app, const std::string& flag, int64_t& value, const std::string& help) {
  const auto set = [&value, flag](const std::string& text) {
    const absl::StatusOr<int64_t> bytes = text == "0" ? 0 : ParseBytesFlag(flag, text, 0);
    if (!bytes.ok()) throw CLI::ValidationError(std::string(bytes.status().message()));
    value = *bytes;
  };
  app.add_option_function<std::string>(flag, set, help)->default_str(std::to_string(value));
}

void AddTlsFlags(CLI::App& app, TlsOptions& options) {
  app.add_option("--tls-cert", options.cert, "PEM file: the certificate shown to peers, and its chain");
  app.add_option("--tls-key", options.key, "PEM file: its private key");
  app.add_option("--tls-ca", options.ca, "PEM file: the authorities that peers' certificates must be of");
  app.add_option("--tls-server-name", options.server_name,
                 "name expected in servers' certificates (default: the host of their address)");
}

void AddDaemonFlags(CLI::App& app, DaemonFields fields) {
  app.add_option("--listen", fields.listen, "host:port for gRPC; port 0 takes a free one");
  app.add_option("--advertise", fields.advertise,
                 "host:port that others reach this daemon at (default: from --listen)");
  app.add_option("--metrics-listen", fields.metrics_listen, "host:port for /metrics, /healthz and /readyz");
  app.add_option("--node-id", fields.node_id, "name, unique in the cluster (default: made from the host's)");
  app.add_option("--log-level", fields.log_level, "trace, debug, info, warning or error");
  app.add_option("--port-file", fields.port_file, "write the ports taken to this file, as JSON");
  AddTlsFlags(app, fields.tls);
}

int RunDaemon(const DaemonProgram& program, int argc, char** argv) {
  BlockTerminationSignals();
  ConfigureAllocatorForBulk();
  CLI::App app(program.description, program.name);
  try {
    app.option_defaults()->always_capture_default();
    program.add_flags(app);
    app.set_version_flag("--version", program.name + " " + kVersion);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadFlags;
  }
  if (const absl::Status status = program.validate(); !status.ok()) return Fail(program, status, kBadFlags);
  const absl::Status logging = InitLogging(program.name, program.log_level);
  if (!logging.ok()) return Fail(program, logging, kBadFlags);
  if (const absl::Status armed = ArmFromEnvironment(); !armed.ok()) return Fail(program, armed, kBadFlags);
  RouteGrpcLog();
  const absl::Status status = program.run();
  LogFailpoints();
  return status.ok() ? 0 : Fail(program, status, kRuntimeError);
}

std::string WaitForStopReason() {
  const int signal = WaitForTermination();
  return signal == 0 ? "refused by the coordinator" : strsignal(signal);
}

}  // namespace paramd
