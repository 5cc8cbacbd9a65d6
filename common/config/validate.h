// The rules of proto/job.proto for a JobSpec whose defaults are filled in.
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_VALIDATE_H_
#define PARAMD_COMMON_CONFIG_VALIDATE_H_

#include "common/config/violations.h"
#include "proto/job.pb.h"

namespace paramd {

// Adds every violated rule, cross-field ones included; paths start with "spec".
void Validate(const v1::JobSpec& spec, Violations& violations);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_VALIDATE_H_
