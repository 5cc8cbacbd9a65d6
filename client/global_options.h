// Flags that every verb takes, and where the coordinator's address and the TLS files come from.
#ifndef PARAMD_CLIENT_GLOBAL_OPTIONS_H_
#define PARAMD_CLIENT_GLOBAL_OPTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/environment.h"
#include "common/rpc/credentials.h"

namespace paramd {

inline constexpr char kDefaultCoordinator[] = "127.0.0.1:7070";

enum class OutputFormat { kTable, kJson, kYaml };

struct GlobalOptions {
  std::string coordinator_flag;              // --coordinator, "" when not given.
  std::string output = "table";              // -o.
  std::string request_timeout_text = "10s";  // --request-timeout.
  TlsOptions tls_flags;                      // --tls-*, "" when not given.

  // The coordinator's address, or several: flag, else PARAMCTL_COORDINATOR, else `coordinator:` in
  // $XDG_CONFIG_HOME/paramctl/config.yaml (~/.config when unset), else kDefaultCoordinator. kInvalidArgument with the
  // path when the file cannot be read or understood.
  absl::StatusOr<std::string> Coordinator(const Environment& environment) const;
  // The TLS options: each from its flag, else from the key of the same name (`tls-ca`) in that file.
  absl::StatusOr<TlsOptions> Tls(const Environment& environment) const;
  // kInvalidArgument for an unknown format.
  absl::StatusOr<OutputFormat> Format() const;
  // kInvalidArgument unless it is a duration above 0.
  absl::StatusOr<absl::Duration> RequestTimeout() const;
};

// "1h30m", "10s", or plain seconds; kInvalidArgument, naming `flag`, unless it is above 0.
absl::StatusOr<absl::Duration> ParsePositiveDuration(absl::string_view flag, const std::string& text);

}  // namespace paramd

#endif  // PARAMD_CLIENT_GLOBAL_OPTIONS_H_
