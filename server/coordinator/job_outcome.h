// How a job ends: the state, reason and error it will have once its nodes have let go of it. Pure and thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_JOB_OUTCOME_H_
#define PARAMD_SERVER_COORDINATOR_JOB_OUTCOME_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/coordinator/job_record.pb.h"

namespace paramd {

coordinator::Outcome MakeOutcome(v1::JobState state, absl::string_view reason, const std::string& message);

// FAILED with the error's reason (JOB_FAILED when it has none), message and details.
coordinator::Outcome FailedOutcome(const absl::Status& error);

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_JOB_OUTCOME_H_
