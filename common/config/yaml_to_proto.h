// YAML, and so JSON, to a protobuf message, with errors for people.
//
//   v1::JobSpec spec;
//   GivenScalars given;
//   RETURN_IF_ERROR(YamlToProto(text, "spec", spec, &given));
//
// Keys are field names (or their lowerCamel JSON names); a null value leaves the field unset; enum values may be
// lower-case and without prefix; 64-bit integers may be quoted, as protobuf's JSON writes them. Errors:
// kInvalidArgument, reason INVALID_SPEC (violations.h), each naming the path and the line: no YAML, several documents,
// unknown field (with a suggestion), duplicate key, wrong type, number out of range, unknown enum value, second member
// of a oneof, document over kMaxDocumentBytes, nesting over kMaxDepth, more than kMaxNodes values (aliases counted as
// often as they are used). Bytes and bool fields do not occur and are refused. Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_YAML_TO_PROTO_H_
#define PARAMD_COMMON_CONFIG_YAML_TO_PROTO_H_

#include <cstddef>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace paramd {

inline constexpr size_t kMaxDocumentBytes = 1 << 20;
inline constexpr int kMaxDepth = 32;
inline constexpr int kMaxNodes = 100000;

// Path of each scalar that the document gives, e.g. "spec.optimizer.groups[0].weight_decay", to its text.
using GivenScalars = absl::flat_hash_map<std::string, std::string>;

// `root` names the document in paths. `message` is merged into; unspecified on error. `given` may be null.
absl::Status YamlToProto(absl::string_view text, absl::string_view root, google::protobuf::Message& message,
                         GivenScalars* given);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_YAML_TO_PROTO_H_
