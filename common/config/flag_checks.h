// Checks of flags that several programs have, so that they mean the same everywhere and are refused in the same words.
//
//   RETURN_IF_ERROR(CheckDaemonOptions(*this));
//   return CheckRangeFlag("--threads", threads, 1, 1024);
//
// Every error is kInvalidArgument, INVALID_FLAG, and begins with the flag's name. Pure but for CheckDirectoryFlag and
// the certificates' files; thread safe.
#ifndef PARAMD_COMMON_CONFIG_FLAG_CHECKS_H_
#define PARAMD_COMMON_CONFIG_FLAG_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/rpc/credentials.h"

namespace paramd {

absl::Status InvalidFlag(absl::string_view flag, absl::string_view message);

// host:port; port 0 (any free one) only where `port_0_allowed`.
absl::Status CheckAddressFlag(absl::string_view flag, const std::string& address, bool port_0_allowed);
// host:port, or several separated by commas.
absl::Status CheckCoordinatorFlag(absl::string_view flag, const std::string& addresses);
// Empty (made up later) or [A-Za-z0-9._-]{1,128}.
absl::Status CheckNodeIdFlag(absl::string_view flag, const std::string& node_id);
absl::Status CheckRangeFlag(absl::string_view flag, int64_t value, int64_t low, int64_t high);
// Makes the directory and tries to write to it.
absl::Status CheckDirectoryFlag(absl::string_view flag, const std::string& path);

// Bytes: a number with the suffix B, KiB, MiB, GiB, TiB, KB, MB, GB, TB or none, or a percentage of `total_bytes`; at
// least 1.
absl::StatusOr<int64_t> ParseBytesFlag(absl::string_view flag, absl::string_view text, int64_t total_bytes);

// What all daemons' options have: listen, metrics_listen, advertise, node_id and tls.
template <typename Options>
absl::Status CheckDaemonOptions(const Options& options) {
  RETURN_IF_ERROR(CheckAddressFlag("--listen", options.listen, true));
  RETURN_IF_ERROR(CheckAddressFlag("--metrics-listen", options.metrics_listen, true));
  if (!options.advertise.empty()) RETURN_IF_ERROR(CheckAddressFlag("--advertise", options.advertise, false));
  RETURN_IF_ERROR(CheckNodeIdFlag("--node-id", options.node_id));
  return Credentials::LoadForServer(options.tls).status();
}

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_FLAG_CHECKS_H_
