#include "client/global_options.h"

#include <exception>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
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

// The file's `coordinator`, "" when there is no file or no such key.
absl::StatusOr<std::string> CoordinatorInFile(const std::string& path) {
  std::error_code error;
  if (path.empty() || !std::filesystem::exists(path, error)) return std::string();
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) return std::string();
    if (!root.IsMap()) return BadConfig(path, "must be a map, as in \"coordinator: 127.0.0.1:7070\"");
    for (const auto& entry : root) {
      const std::string key = entry.first.as<std::string>();
      if (key != "coordinator") return BadConfig(path, absl::StrCat("unknown key \"", key, "\"; known: coordinator"));
    }
    return root["coordinator"] ? root["coordinator"].as<std::string>() : std::string();
  } catch (const std::exception& exception) {
    return BadConfig(path, exception.what());
  }
}

}  // namespace

absl::StatusOr<std::string> GlobalOptions::Coordinator(const Environment& environment) const {
  if (!coordinator_flag.empty()) return coordinator_flag;
  std::string address = environment.variable("PARAMCTL_COORDINATOR");
  if (!address.empty()) return address;
  absl::StatusOr<std::string> from_file = CoordinatorInFile(ConfigPath(environment));
  if (!from_file.ok() || !from_file->empty()) return from_file;
  return std::string(kDefaultCoordinator);
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
