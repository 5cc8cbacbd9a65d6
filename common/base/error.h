// Statuses that programs can act on: an absl::Status with a stable UPPER_SNAKE_CASE reason and metadata, which
// common/rpc turns into google.rpc.ErrorInfo on the wire.
//
//   return MakeError(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED",
//                    absl::StrCat("push of generation ", got, " refused: job is at ", now),
//                    {{"generation", absl::StrCat(now)}});
//
// All functions are pure and thread safe.
#ifndef PARAMD_COMMON_BASE_ERROR_H_
#define PARAMD_COMMON_BASE_ERROR_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace paramd {

using ErrorMetadata = std::map<std::string, std::string>;

// A status of `code` (not kOk) with `reason` and lowerCamel `metadata` attached.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                       const ErrorMetadata& metadata = {});

// The reason attached to `status`, or "" when there is none.
std::string ErrorReason(const absl::Status& status);

// The metadata attached to `status`, empty when there is none.
ErrorMetadata GetErrorMetadata(const absl::Status& status);

// The same code, reason and metadata with "`context`: " before the message.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_ERROR_H_
