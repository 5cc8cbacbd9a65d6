// Which weight decay and learning rate each parameter of a job has: OptimizerSpec.groups resolved over the names.
//
// Which group is a parameter's: common/model/parameter_match.h. What the group does not set has its default: the
// optimizer's weight decay, or none for biases and the parameters of norms; scale 1.
//
// Pure and thread safe.
#ifndef PARAMD_SERVER_STORE_PARAMETER_GROUPS_H_
#define PARAMD_SERVER_STORE_PARAMETER_GROUPS_H_

#include <vector>

#include "absl/types/span.h"
#include "common/model/parameter_layout.h"
#include "proto/job.pb.h"

namespace paramd {

struct ParameterSettings {
  double weight_decay = 0;
  double learning_rate_scale = 1;
  bool operator==(const ParameterSettings&) const = default;
};

// One entry per parameter, in model order.
std::vector<ParameterSettings> ResolveParameterGroups(const v1::OptimizerSpec& optimizer,
                                                      absl::Span<const ParameterSpec> parameters);

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_PARAMETER_GROUPS_H_
