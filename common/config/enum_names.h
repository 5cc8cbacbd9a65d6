// Enum values as people write them: "inverse_sqrt" for SCHEDULE_TYPE_INVERSE_SQRT.
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_ENUM_NAMES_H_
#define PARAMD_COMMON_CONFIG_ENUM_NAMES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace paramd {

// Lower-case, without the enum's prefix.
std::string ShortName(const google::protobuf::EnumValueDescriptor& value);

// All short names in order, but those of _UNSPECIFIED and of values that only messages carry (CODEC_PER_GROUP).
std::vector<std::string> ShortNames(const google::protobuf::EnumDescriptor& type);

// By short or full name, in any case; null for what ShortNames leaves out.
const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                                           absl::string_view name);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_ENUM_NAMES_H_
