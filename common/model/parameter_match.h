// Which of a job's parameter groups a parameter belongs to: the first one with a pattern that matches its name.
//
//   const v1::ParameterGroup* group = FindParameterGroup(spec.optimizer(), "h.0.ln_1.weight");   // null: none
//
// In patterns '*' stands for any characters, '?' for one. Pure and thread safe.
#ifndef PARAMD_COMMON_MODEL_PARAMETER_MATCH_H_
#define PARAMD_COMMON_MODEL_PARAMETER_MATCH_H_

#include "absl/strings/string_view.h"
#include "proto/job.pb.h"

namespace paramd {

// The group lives in `optimizer`.
const v1::ParameterGroup* FindParameterGroup(const v1::OptimizerSpec& optimizer, absl::string_view name);

// Whether `pattern` matches all of `text`. Linear in their product at worst, never exponential.
bool GlobMatch(absl::string_view pattern, absl::string_view text);

}  // namespace paramd

#endif  // PARAMD_COMMON_MODEL_PARAMETER_MATCH_H_
