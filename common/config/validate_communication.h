// Rules for codecs: CommunicationSpec and the codecs of parameter groups.
//
// Pure.
#ifndef PARAMD_COMMON_CONFIG_VALIDATE_COMMUNICATION_H_
#define PARAMD_COMMON_CONFIG_VALIDATE_COMMUNICATION_H_

#include "absl/strings/string_view.h"
#include "common/config/violations.h"
#include "proto/job.pb.h"

namespace paramd {

// `communication` is filled; its paths start with "spec.communication".
void ValidateCommunication(const v1::CommunicationSpec& communication, Violations& violations);

// That gradients can be pushed with `codec`, the value of the field at `path`.
void ValidatePushCodec(v1::Codec codec, absl::string_view path, Violations& violations);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_VALIDATE_COMMUNICATION_H_
