// JobSpec from text, its defaults and its rules.
//
//   ASSIGN_OR_RETURN(v1::JobSpec spec, ParseJobSpec(text));   // YAML or JSON
//   RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
//
// Errors are kInvalidArgument, reason INVALID_SPEC, and name the path, the rule and the value:
//   spec.optimizer.learning_rate: must be > 0, got -0.1
//   spec.optimiser: unknown field; did you mean "optimizer"? (line 12)
// Several violations come in one status, one per line, and as metadata path -> description.
// Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_JOB_SPEC_H_
#define PARAMD_COMMON_CONFIG_JOB_SPEC_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/job.pb.h"

namespace paramd {

// Enum values may be written lower-case and without their prefix ("adamw", "inverse_sqrt").
//
// Four fields can be zero in earnest, so only here, where it is known which keys are present, do they get their
// defaults: training.sample.temperature 0.8, data.text.validation_fraction 0.05, sync.staleness 3 (ssp),
// optimizer.weight_decay 0.01 (adamw). Who builds a JobSpec in code sets them. An explicit 0 for a field where zero
// stands for "unset" is refused.
absl::StatusOr<v1::JobSpec> ParseJobSpec(absl::string_view text);

// Fills unset fields with the defaults that proto/job.proto states and checks all rules, cross-field ones included
// (workers <= slots, hidden % heads == 0, model and data source agree). Idempotent: a filled spec stays as it is.
absl::Status FillDefaultsAndValidate(v1::JobSpec& spec);

// The inverse, for people: YAML in the proto's field order without unset fields. ParseJobSpec brings back the same
// spec.
std::string JobSpecToYaml(const v1::JobSpec& spec);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_JOB_SPEC_H_
