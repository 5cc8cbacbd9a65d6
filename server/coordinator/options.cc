#include "server/coordinator/options.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/config/flag_checks.h"

namespace paramd {
namespace {

absl::Status CheckDuration(absl::string_view flag, absl::Duration value, absl::Duration low, absl::Duration high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidFlag(flag, absl::StrCat("must be ", absl::FormatDuration(low), " to ", absl::FormatDuration(high),
                                        ", got ", absl::FormatDuration(value)));
}

constexpr size_t kMaxPrefixBytes = 256;

absl::Status CheckEtcdOptions(const CoordinatorServerOptions& options) {
  const std::string& prefix = options.etcd_prefix;
  if (prefix.size() < 2 || prefix.size() > kMaxPrefixBytes || prefix.front() != '/' || prefix.back() != '/') {
    return InvalidFlag("--etcd-prefix", absl::StrCat("must be like /paramd/, with a slash at both ends and at most ",
                                                     kMaxPrefixBytes, " bytes, got \"", prefix, "\""));
  }
  RETURN_IF_ERROR(CheckDuration("--leader-lease", options.leader_lease, absl::Seconds(2), absl::Seconds(60)));
  if (options.leader_lease % absl::Seconds(1) != absl::ZeroDuration()) {
    return InvalidFlag("--leader-lease",
                       absl::StrCat("must be whole seconds, got ", absl::FormatDuration(options.leader_lease)));
  }
  if (options.leader_lease * 2 <= options.lease) return absl::OkStatus();
  return InvalidFlag(
      "--leader-lease",
      absl::StrCat("must be at most half of --lease, so that daemons outlive a change of the leader; got ",
                   absl::FormatDuration(options.leader_lease), " and ", absl::FormatDuration(options.lease)));
}

}  // namespace

absl::StatusOr<StoreLocation> ParseStoreFlag(absl::string_view text) {
  StoreLocation location;
  if (absl::ConsumePrefix(&text, "sqlite:")) {
    if (text.empty()) return InvalidFlag("--store", "sqlite: needs a path, as in sqlite:/var/lib/paramd/paramd.db");
    location.sqlite_path = std::string(text);
    return location;
  }
  if (!absl::ConsumePrefix(&text, "etcd:")) {
    return InvalidFlag("--store",
                       absl::StrCat("must be sqlite:PATH or etcd:HOST:PORT[,HOST:PORT]..., got \"", text, "\""));
  }
  for (const absl::string_view endpoint : absl::StrSplit(text, ',')) {
    RETURN_IF_ERROR(CheckAddressFlag("--store", std::string(endpoint), false));
    const auto& known = location.etcd_endpoints;
    if (std::find(known.begin(), known.end(), std::string(endpoint)) != known.end()) {
      return InvalidFlag("--store", absl::StrCat(endpoint, " is named twice"));
    }
    location.etcd_endpoints.emplace_back(endpoint);
  }
  return location;
}

absl::StatusOr<StoreLocation> CoordinatorServerOptions::ParseStore() const {
  return ParseStoreFlag(store.empty() ? absl::StrCat("sqlite:", data_dir, "/paramd.db") : store);
}

absl::Status CoordinatorServerOptions::Validate() const {
  const absl::Duration shortest = absl::Milliseconds(100);
  RETURN_IF_ERROR(CheckDaemonOptions(*this));
  RETURN_IF_ERROR(CheckDuration("--lease", lease, shortest, absl::Hours(1)));
  RETURN_IF_ERROR(CheckDuration("--heartbeat", EffectiveHeartbeat(), absl::Milliseconds(10), lease / 2));
  RETURN_IF_ERROR(CheckDuration("--restart-grace", restart_grace, absl::ZeroDuration(), absl::Hours(1)));
  RETURN_IF_ERROR(CheckDuration("--workers-timeout", workers_timeout, shortest, absl::Hours(24 * 30)));
  RETURN_IF_ERROR(CheckRangeFlag("--max-recoveries", max_recoveries, 0, 1000));
  RETURN_IF_ERROR(CheckDuration("--preparing-timeout", preparing_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--stopping-timeout", stopping_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--saving-timeout", saving_timeout, shortest, absl::Hours(24)));
  RETURN_IF_ERROR(CheckDuration("--releasing-timeout", releasing_timeout, shortest, absl::Hours(24)));
  ASSIGN_OR_RETURN(const StoreLocation location, ParseStore());
  if (location.sqlite_path.empty()) return CheckEtcdOptions(*this);
  if (store.empty()) return CheckDirectoryFlag("--data-dir", data_dir);
  const std::filesystem::path directory = std::filesystem::path(location.sqlite_path).parent_path();
  return CheckDirectoryFlag("--store", directory.empty() ? "." : directory.string());
}

}  // namespace paramd
