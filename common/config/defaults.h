// The defaults that proto/job.proto states, filled into a JobSpec.
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_DEFAULTS_H_
#define PARAMD_COMMON_CONFIG_DEFAULTS_H_

#include "common/config/yaml_to_proto.h"
#include "proto/job.pb.h"

namespace paramd {

// Fills fields whose zero cannot mean anything else. Required sub-messages that are missing stay missing.
void FillDefaults(v1::JobSpec& spec);

// Fills the fields whose zero does mean something (sample.temperature, optimizer.weight_decay,
// text.validation_fraction, sync.staleness) unless the text gave them. `given` is of a document named "spec".
void FillDefaultsNotGiven(const GivenScalars& given, v1::JobSpec& spec);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_DEFAULTS_H_
