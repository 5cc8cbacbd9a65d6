#include "common/config/flag_checks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/rpc/address.h"
#include "common/rpc/coordinator_choice.h"

namespace paramd {
namespace {

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

absl::Status InvalidFlag(absl::string_view flag, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_FLAG", absl::StrCat(flag, ": ", message));
}

absl::Status CheckAddressFlag(absl::string_view flag, const std::string& address, bool port_0_allowed) {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(address);
  if (!parsed.ok()) return InvalidFlag(flag, parsed.status().message());
  if (parsed->port == 0 && !port_0_allowed) return InvalidFlag(flag, absl::StrCat("needs a port, got ", address));
  return absl::OkStatus();
}

absl::Status CheckCoordinatorFlag(absl::string_view flag, const std::string& addresses) {
  const absl::Status status = ParseCoordinatorList(addresses).status();
  return status.ok() ? status : InvalidFlag(flag, status.message());
}

absl::Status CheckNodeIdFlag(absl::string_view flag, const std::string& node_id) {
  bool good = node_id.size() <= 128;
  for (char c : node_id) good = good && (absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-');
  return good ? absl::OkStatus() : InvalidFlag(flag, "must be at most 128 characters of A-Z a-z 0-9 . _ -");
}

absl::Status CheckRangeFlag(absl::string_view flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidFlag(flag, absl::StrCat("must be ", low, " to ", high, ", got ", value));
}

absl::Status CheckDirectoryFlag(absl::string_view flag, const std::string& path) {
  if (path.empty()) return InvalidFlag(flag, "must name a directory");
  absl::Status status = EnsureDirectory(path);
  if (status.ok()) status = IsWritableDirectory(path);
  return status.ok() ? status : InvalidFlag(flag, status.message());
}

absl::StatusOr<int64_t> ParseBytesFlag(absl::string_view flag, absl::string_view text, int64_t total_bytes) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  double number = 0;
  const double factor = UnitFactor(text.substr(digits), total_bytes);
  if (!absl::SimpleAtod(text.substr(0, digits), &number) || factor == 0) {
    return InvalidFlag(
        flag, absl::StrCat("must be like 8GiB or 500MB", total_bytes > 0 ? ", or 80%" : "", ", got \"", text, "\""));
  }
  const double bytes = number * factor;
  if (!(bytes >= 1) || bytes > 0x1p62) {
    return InvalidFlag(flag, absl::StrCat("must be at least 1 byte and below 2^62, got ", text));
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace paramd
