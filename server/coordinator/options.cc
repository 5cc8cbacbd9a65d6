#include "server/coordinator/options.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/flag_checks.h"

namespace paramd {
namespace {

absl::Status CheckDuration(absl::string_view flag, absl::Duration value, absl::Duration low, absl::Duration high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidFlag(flag, absl::StrCat("must be ", absl::FormatDuration(low), " to ", absl::FormatDuration(high),
                                        ", got ", absl::FormatDuration(value)));
}

}  // namespace

absl::Status CoordinatorServerOptions::Validate() const {
  const absl::Duration shortest = absl::Milliseconds(100);
  RETURN_IF_ERROR(CheckDaemonOptions(*this));
  RETURN_IF_ERROR(CheckDuration("--lease", lease, shortest, absl::Hours(1)));
  RETURN_IF_ERROR(CheckDuration("--heartbeat", EffectiveHeartbeat(), absl::Milliseconds(10), lease / 2));
  RETURN_IF_ERROR(CheckDuration("--restart-grace", restart_grace, absl::ZeroDuration(), absl::Hours(1)));
  RETURN_IF_ERROR(CheckDuration("--preparing-timeout", preparing_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--stopping-timeout", stopping_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--saving-timeout", saving_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--releasing-timeout", releasing_timeout, shortest, absl::Hours(24)));
  return CheckDirectoryFlag("--data-dir", data_dir);
}

}  // namespace paramd
