#include "server/options.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/flag_checks.h"

namespace paramd {

namespace {

absl::Status CheckDurationFlag(absl::string_view flag, absl::Duration value, absl::Duration low) {
  if (low <= value && value <= absl::Hours(24)) return absl::OkStatus();
  return InvalidFlag(flag,
                     absl::StrCat("must be ", absl::FormatDuration(low), " to 24h, got ", absl::FormatDuration(value)));
}

}  // namespace

int64_t PhysicalMemoryBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
}

absl::Status ServerOptions::Validate() const {
  RETURN_IF_ERROR(CheckDaemonOptions(*this));
  RETURN_IF_ERROR(CheckCoordinatorFlag("--coordinator", coordinator));
  RETURN_IF_ERROR(CheckRangeFlag("--threads", threads, 0, 1024));
  RETURN_IF_ERROR(ParseBytesFlag("--memory-limit", memory_limit, PhysicalMemoryBytes()).status());
  RETURN_IF_ERROR(CheckDurationFlag("--request-timeout", request_timeout, absl::Milliseconds(1)));
  RETURN_IF_ERROR(CheckDurationFlag("--orphan-timeout", orphan_timeout, absl::ZeroDuration()));
  const absl::Status place = CheckLocalSocketPlace(local_socket.place);
  if (!place.ok()) return InvalidFlag("--local-socket", place.message());
  return CheckDirectoryFlag("--output-dir", output_dir);
}

int64_t ServerOptions::MemoryLimitBytes() const {
  return ParseBytesFlag("--memory-limit", memory_limit, PhysicalMemoryBytes()).value_or(0);
}

}  // namespace paramd
