// Small jobs with their data, for tests.
#ifndef PARAMD_TESTS_FRAMEWORK_EXAMPLE_JOBS_H_
#define PARAMD_TESTS_FRAMEWORK_EXAMPLE_JOBS_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

// A 2-layer GPT-2 with dropout on generated text that is written into `directory`: 20 steps of 4 slots, AdamW with
// clipping, schedule and parameter groups, small chunks. Filled and valid.
absl::StatusOr<v1::JobSpec> TinyGptJob(const std::string& directory);

// A linear classifier on generated images that is written into `directory`, plain SGD. Filled and valid.
absl::StatusOr<v1::JobSpec> TinyClassifierJob(const std::string& directory);

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_EXAMPLE_JOBS_H_
