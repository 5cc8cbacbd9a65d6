#include "client/global_options.h"

#include <exception>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

absl::Status BadConfig(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "BAD_CONFIG_FILE", absl::StrCat(path, ": ", what));
}

std::string ConfigPath(const Environment& environment) {
  std::string directory = environment.variable("XDG_CONFIG_HOME");
  if (directory.empty()) {
    const std::string home = environment.variable("HOME");
    if (home.empty()) return "";
    directory = absl::StrCat(home, "/.config");
  }
  return absl::StrCat(directory, "/paramctl/config.yaml");
}

// Where each key of the file goes.
struct ConfigFile {
  std::string coordinator;
  TlsOptions tls;

  std::string* Find(const std::string& key) {
    if (key == "coordinator") return &coordinator;
    if (key == "tls-ca") return &tls.ca;
    if (key == "tls-cert") return &tls.cert;
    if (key == "tls-key") return &tls.key;
    return key == "tls-server-name" ? &tls.server_name : nullptr;
  }
};

// All fields are empty when there is no file.
absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path) {
  ConfigFile config;
  std::error_code error;
  if (path.empty() || !std::filesystem::exists(path, error)) return config;
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) return config;
    if (!root.IsMap()) return BadConfig(path, "must be a map, as in \"coordinator: 127.0.0.1:7070\"");
    for (const auto& entry : root) {
      const std::string key = entry.first.as<std::string>();
      std::string* const field = config.Find(key);
      if (field == nullptr) {
        return BadConfig(path, absl::StrCat("unknown key \"", key, "\"; known: coordinator, tls-ca, tls-cert, ",
                                            "tls-key, tls-server-name"));
      }
      *field = entry.second.as<std::string>();
    }
    return config;
  } catch (const std::exception& exception) {
    return BadConfig(path, exception.what());
  }
}

}  // namespace

absl::StatusOr<std::string> GlobalOptions::Coordinator(const Environment& environment) const {
  if (!coordinator_flag.empty()) return coordinator_flag;
  std::string address = environment.variable("PARAMCTL_COORDINATOR");
  if (!address.empty()) return address;
  ASSIGN_OR_RETURN(const ConfigFile config, ReadConfigFile(ConfigPath(environment)));
  return config.coordinator.empty() ? kDefaultCoordinator : config.coordinator;
}

absl::StatusOr<TlsOptions> GlobalOptions::Tls(const Environment& environment) const {
  ASSIGN_OR_RETURN(ConfigFile config, ReadConfigFile(ConfigPath(environment)));
  TlsOptions tls = config.tls;
  if (!tls_flags.cert.empty()) tls.cert = tls_flags.cert;
  if (!tls_flags.key.empty()) tls.key = tls_flags.key;
  if (!tls_flags.ca.empty()) tls.ca = tls_flags.ca;
  if (!tls_flags.server_name.empty()) tls.server_name = tls_flags.server_name;
  return tls;
}

absl::StatusOr<OutputFormat> GlobalOptions::Format() const {
  if (output == "table") return OutputFormat::kTable;
  if (output == "json") return OutputFormat::kJson;
  if (output == "yaml") return OutputFormat::kYaml;
  return MakeError(absl::StatusCode::kInvalidArgument, "BAD_FLAG",
                   absl::StrCat("--output: must be table, json or yaml, got \"", output, "\""));
}

absl::StatusOr<absl::Duration> GlobalOptions::RequestTimeout() const {
  return ParsePositiveDuration("--request-timeout", request_timeout_text);
}

absl::StatusOr<absl::Duration> ParsePositiveDuration(absl::string_view flag, const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    duration = absl::ZeroDuration();
  }
  if (duration > absl::ZeroDuration()) return duration;
  return MakeError(absl::StatusCode::kInvalidArgument, "BAD_FLAG",
                   absl::StrCat(flag, ": must be a duration above 0 as in 10s or 1h30m, got \"", text, "\""));
}

}  // namespace paramd
