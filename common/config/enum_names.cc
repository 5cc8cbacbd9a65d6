#include "common/config/enum_names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace paramd {
namespace {

// "ScheduleType" to "schedule_type_".
std::string Prefix(const google::protobuf::EnumDescriptor& type) {
  std::string prefix;
  for (char c : type.name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix.push_back('_');
    prefix.push_back(absl::ascii_tolower(c));
  }
  return prefix + "_";
}

// Whether people may write the value: not the unset one, nor what only messages on the wire carry.
bool IsChoice(const google::protobuf::EnumValueDescriptor& value) {
  return value.number() != 0 && value.name() != "CODEC_PER_GROUP";
}

}  // namespace

std::string ShortName(const google::protobuf::EnumValueDescriptor& value) {
  const std::string name = absl::AsciiStrToLower(value.name());
  const std::string prefix = Prefix(*value.type());
  return absl::StartsWith(name, prefix) ? name.substr(prefix.size()) : name;
}

std::vector<std::string> ShortNames(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (IsChoice(*type.value(i))) names.push_back(ShortName(*type.value(i)));
  }
  return names;
}

const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                                           absl::string_view name) {
  for (int i = 0; i < type.value_count(); ++i) {
    const auto* value = type.value(i);
    if (!IsChoice(*value)) continue;
    if (absl::EqualsIgnoreCase(name, ShortName(*value)) || absl::EqualsIgnoreCase(name, value->name())) return value;
  }
  return nullptr;
}

}  // namespace paramd
