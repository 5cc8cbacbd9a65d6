#include "server/coordinator/options.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/address.h"

namespace paramd {
namespace {

absl::Status Invalid(absl::string_view flag, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_FLAG", absl::StrCat(flag, ": ", message));
}

absl::Status CheckAddress(absl::string_view flag, const std::string& address) {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(address);
  return parsed.ok() ? absl::OkStatus() : Invalid(flag, parsed.status().message());
}

absl::Status CheckDuration(absl::string_view flag, absl::Duration value, absl::Duration low, absl::Duration high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(flag, absl::StrCat("must be ", absl::FormatDuration(low), " to ", absl::FormatDuration(high), ", got ",
                                    absl::FormatDuration(value)));
}

absl::Status CheckNodeId(const std::string& node_id) {
  bool good = node_id.size() <= 128;
  for (char c : node_id) good = good && (absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-');
  return good ? absl::OkStatus() : Invalid("--node-id", "must be at most 128 characters of A-Z a-z 0-9 . _ -");
}

absl::Status CheckDataDirectory(const std::string& path) {
  if (path.empty()) return Invalid("--data-dir", "must name a directory");
  absl::Status status = EnsureDirectory(path);
  if (status.ok()) status = IsWritableDirectory(path);
  return status.ok() ? status : Invalid("--data-dir", status.message());
}

}  // namespace

absl::Status CoordinatorServerOptions::Validate() const {
  const absl::Duration shortest = absl::Milliseconds(100);
  RETURN_IF_ERROR(CheckAddress("--listen", listen));
  RETURN_IF_ERROR(CheckAddress("--metrics-listen", metrics_listen));
  if (!advertise.empty()) RETURN_IF_ERROR(CheckAddress("--advertise", advertise));
  RETURN_IF_ERROR(CheckNodeId(node_id));
  RETURN_IF_ERROR(CheckDuration("--lease", lease, shortest, absl::Hours(1)));
  RETURN_IF_ERROR(CheckDuration("--heartbeat", EffectiveHeartbeat(), absl::Milliseconds(10), lease / 2));
  RETURN_IF_ERROR(CheckDuration("--restart-grace", restart_grace, absl::ZeroDuration(), absl::Hours(1)));
  RETURN_IF_ERROR(CheckDuration("--preparing-timeout", preparing_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--stopping-timeout", stopping_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--saving-timeout", saving_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--releasing-timeout", releasing_timeout, shortest, absl::Hours(24)));
  return CheckDataDirectory(data_dir);
}

}  // namespace paramd
