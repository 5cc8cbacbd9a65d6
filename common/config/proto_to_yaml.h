// A protobuf message as YAML for people, the inverse of YamlToProto.
//
//   std::string text = ProtoToYaml(spec, nullptr);
//
// Fields come in the order of the .proto file, map keys sorted; unset fields are left out; enums are written short,
// floats with as few digits as bring them back. Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_PROTO_TO_YAML_H_
#define PARAMD_COMMON_CONFIG_PROTO_TO_YAML_H_

#include <functional>
#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace paramd {

// Whether a singular field without presence is written although it is zero.
using KeepZero = std::function<bool(const google::protobuf::Message&, const google::protobuf::FieldDescriptor&)>;

// `keep_zero` may be null. Ends with a newline; "{}\n" for a message without set fields.
std::string ProtoToYaml(const google::protobuf::Message& message, const KeepZero& keep_zero);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_PROTO_TO_YAML_H_
