// The optimizer's part of the rules (validate.h).
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_VALIDATE_OPTIMIZER_H_
#define PARAMD_COMMON_CONFIG_VALIDATE_OPTIMIZER_H_

#include <cstdint>

#include "common/config/violations.h"
#include "proto/job.pb.h"

namespace paramd {

// `steps` is training.steps. Parameters that the optimizer's type does not use must be unset.
void ValidateOptimizer(const v1::OptimizerSpec& optimizer, uint32_t steps, Violations& violations);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_VALIDATE_OPTIMIZER_H_
