#include "worker/options.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
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

absl::Status CheckRange(absl::string_view flag, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(flag, absl::StrCat("must be ", low, " to ", high, ", got ", value));
}

absl::Status CheckNodeId(const std::string& node_id) {
  bool good = node_id.size() <= 128;
  for (char c : node_id) good = good && (absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-');
  return good ? absl::OkStatus() : Invalid("--node-id", "must be at most 128 characters of A-Z a-z 0-9 . _ -");
}

}  // namespace

absl::Status WorkerOptions::Validate() const {
  RETURN_IF_ERROR(CheckAddress("--listen", listen, true));
  RETURN_IF_ERROR(CheckAddress("--metrics-listen", metrics_listen, true));
  RETURN_IF_ERROR(CheckAddress("--coordinator", coordinator, false));
  if (!advertise.empty()) RETURN_IF_ERROR(CheckAddress("--advertise", advertise, false));
  RETURN_IF_ERROR(CheckNodeId(node_id));
  RETURN_IF_ERROR(CheckRange("--threads", threads, 1, 1024));
  return CheckRange("--job-capacity", job_capacity, 1, 64);
}

}  // namespace paramd
