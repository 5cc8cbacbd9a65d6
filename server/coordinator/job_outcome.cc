#include "server/coordinator/job_outcome.h"

#include "common/base/error.h"
#include "common/rpc/error_status.h"

namespace paramd {

using coordinator::Outcome;

Outcome MakeOutcome(v1::JobState state, absl::string_view reason, const std::string& message) {
  Outcome outcome;
  outcome.set_state(state);
  outcome.set_reason(std::string(reason));
  outcome.set_message(message);
  return outcome;
}

Outcome FailedOutcome(const absl::Status& error) {
  std::string reason = ErrorReason(error);
  if (reason.empty()) reason = "JOB_FAILED";
  Outcome outcome = MakeOutcome(v1::JOB_STATE_FAILED, reason, std::string(error.message()));
  *outcome.mutable_error() = ToRpcStatus(error);
  return outcome;
}

}  // namespace paramd
