#include "server/options.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/flag_checks.h"

namespace paramd {

namespace {

absl::Duration DurationOrZero(const std::string& text) {
  absl::Duration duration;
  return absl::ParseDuration(text, &duration) ? duration : absl::ZeroDuration();
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
  absl::Duration timeout;
  if (!absl::ParseDuration(request_timeout, &timeout) || timeout <= absl::ZeroDuration() || timeout > absl::Hours(24)) {
    return InvalidFlag("--request-timeout",
                       absl::StrCat("must be a duration like 60s, up to 24h, got ", request_timeout));
  }
  if (!absl::ParseDuration(orphan_timeout, &timeout) || timeout < absl::ZeroDuration() || timeout > absl::Hours(24)) {
    return InvalidFlag("--orphan-timeout", absl::StrCat("must be a duration of 0 to 24h, got ", orphan_timeout));
  }
  const absl::Status place = CheckLocalSocketPlace(local_socket.place);
  if (!place.ok()) return InvalidFlag("--local-socket", place.message());
  return CheckDirectoryFlag("--output-dir", output_dir);
}

int64_t ServerOptions::MemoryLimitBytes() const {
  return ParseBytesFlag("--memory-limit", memory_limit, PhysicalMemoryBytes()).value_or(0);
}

absl::Duration ServerOptions::RequestTimeout() const { return DurationOrZero(request_timeout); }

absl::Duration ServerOptions::OrphanTimeout() const { return DurationOrZero(orphan_timeout); }

}  // namespace paramd
