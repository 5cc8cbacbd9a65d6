// paramctl's exit codes: part of its interface, listed in the README. Pure; thread safe.
#ifndef PARAMD_CLIENT_EXIT_CODE_H_
#define PARAMD_CLIENT_EXIT_CODE_H_

#include "absl/status/status.h"
#include "proto/job.pb.h"

namespace paramd {

enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,  // Bad flags, bad config file, bad job specification.
  kExitNotFound = 3,
  kExitPermission = 4,
  kExitUnavailable = 5,  // Nobody answers, or not in time.
  kExitConflict = 6,     // The job is not in a state for it, or the name is taken.
  kExitJobFailed = 8,
  kExitJobCancelled = 9,
  kExitTimeout = 124,      // `wait` gave up.
  kExitInterrupted = 130,  // ^C.
};

ExitCode ExitCodeForStatus(const absl::Status& status);

// Of a verb that waited for the job's end: FAILED and CANCELLED have codes of their own, all other states are fine.
ExitCode ExitCodeForState(v1::JobState state);

// SUCCEEDED, FAILED or CANCELLED.
bool IsTerminal(v1::JobState state);

}  // namespace paramd

#endif  // PARAMD_CLIENT_EXIT_CODE_H_
