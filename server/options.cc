#include "server/options.h"

#include <unistd.h>

#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
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

absl::Status CheckAddress(absl::string_view flag, const std::string& address, bool port_0_allowed) {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(address);
  if (!parsed.ok()) return Invalid(flag, parsed.status().message());
  if (parsed->port == 0 && !port_0_allowed) return Invalid(flag, absl::StrCat("needs a port, got ", address));
  return absl::OkStatus();
}

absl::Status CheckNodeId(const std::string& node_id) {
  bool good = node_id.size() <= 128;
  for (char c : node_id) good = good && (absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-');
  return good ? absl::OkStatus() : Invalid("--node-id", "must be at most 128 characters of A-Z a-z 0-9 . _ -");
}

absl::Status CheckOutputDirectory(const std::string& directory) {
  absl::Status status = EnsureDirectory(directory);
  if (status.ok()) status = IsWritableDirectory(directory);
  return status.ok() ? status : Invalid("--output-dir", status.message());
}

// The factor of a unit, 0 for an unknown one.
double UnitFactor(absl::string_view unit, int64_t total_bytes) {
  if (unit.empty() || unit == "B") return 1;
  if (unit == "%") return static_cast<double>(total_bytes) / 100;
  const std::pair<const char*, double> kUnits[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
                                                   {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12}};
  for (const auto& [name, factor] : kUnits) {
    if (unit == name) return factor;
  }
  return 0;
}

}  // namespace

absl::StatusOr<int64_t> ParseMemoryLimit(absl::string_view text, int64_t total_bytes) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  double number = 0;
  const double factor = UnitFactor(text.substr(digits), total_bytes);
  if (!absl::SimpleAtod(text.substr(0, digits), &number) || factor == 0) {
    return Invalid("--memory-limit", absl::StrCat("must be like 8GiB, 500MB or 80%, got \"", text, "\""));
  }
  const double bytes = number * factor;
  if (!(bytes >= 1) || bytes > 0x1p62) {
    return Invalid("--memory-limit", absl::StrCat("must be at least 1 byte and below 2^62, got ", text));
  }
  return static_cast<int64_t>(bytes);
}

int64_t PhysicalMemoryBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
}

absl::Status ServerOptions::Validate() const {
  RETURN_IF_ERROR(CheckAddress("--listen", listen, true));
  RETURN_IF_ERROR(CheckAddress("--metrics-listen", metrics_listen, true));
  RETURN_IF_ERROR(CheckAddress("--coordinator", coordinator, false));
  if (!advertise.empty()) RETURN_IF_ERROR(CheckAddress("--advertise", advertise, false));
  RETURN_IF_ERROR(CheckNodeId(node_id));
  if (threads < 0 || threads > 1024) return Invalid("--threads", absl::StrCat("must be 0 to 1024, got ", threads));
  RETURN_IF_ERROR(ParseMemoryLimit(memory_limit, PhysicalMemoryBytes()).status());
  absl::Duration timeout;
  if (!absl::ParseDuration(request_timeout, &timeout) || timeout <= absl::ZeroDuration() || timeout > absl::Hours(24)) {
    return Invalid("--request-timeout", absl::StrCat("must be a duration like 60s, up to 24h, got ", request_timeout));
  }
  return CheckOutputDirectory(output_dir);
}

int64_t ServerOptions::MemoryLimitBytes() const {
  return ParseMemoryLimit(memory_limit, PhysicalMemoryBytes()).value_or(0);
}

absl::Duration ServerOptions::RequestTimeout() const {
  absl::Duration timeout;
  return absl::ParseDuration(request_timeout, &timeout) ? timeout : absl::ZeroDuration();
}

}  // namespace paramd
