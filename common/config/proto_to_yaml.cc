#include "common/config/proto_to_yaml.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "common/config/enum_names.h"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The fewest significant digits that read back as the same value.
std::string Shortest(float value) {
  for (int digits = 1; digits < 9; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    if (std::strtof(text.c_str(), nullptr) == value) return text;
  }
  return absl::StrFormat("%.9g", value);
}

std::string Shortest(double value) {
  for (int digits = 1; digits < 17; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    if (std::strtod(text.c_str(), nullptr) == value) return text;
  }
  return absl::StrFormat("%.17g", value);
}

// Strings that every YAML reader takes as strings need no quotes: words that start with a letter or a slash.
bool IsPlainWord(const std::string& text) {
  static constexpr const char* kReserved[] = {"true", "false", "yes", "no",  "on", "off",
                                              "null", "y",     "n",   "nan", "inf"};
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/')) return false;
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* reserved : kReserved) {
    if (lower == reserved) return false;
  }
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/'; });
}

class Writer {
 public:
  explicit Writer(const KeepZero& keep_zero) : keep_zero_(keep_zero) {}

  void WriteMessage(const Message& message);
  std::string text() const { return std::string(out_.c_str()) + "\n"; }

 private:
  bool IsWritten(const Message& message, const FieldDescriptor& field) const;
  void WriteField(const Message& message, const FieldDescriptor& field);
  void WriteMapField(const Message& message, const FieldDescriptor& field);
  // `index` is that of a repeated field's element, -1 for a singular field.
  void WriteValue(const Message& message, const FieldDescriptor& field, int index);
  void WriteString(const std::string& text);

  const KeepZero& keep_zero_;
  YAML::Emitter out_;
};

bool Writer::IsWritten(const Message& message, const FieldDescriptor& field) const {
  if (field.is_repeated()) return message.GetReflection()->FieldSize(message, &field) > 0;
  if (message.GetReflection()->HasField(message, &field)) return true;
  return !field.has_presence() && keep_zero_ != nullptr && keep_zero_(message, field);
}

void Writer::WriteMessage(const Message& message) {
  out_ << YAML::BeginMap;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (!IsWritten(message, field)) continue;
    out_ << YAML::Key << field.name() << YAML::Value;
    WriteField(message, field);
  }
  out_ << YAML::EndMap;
}

void Writer::WriteField(const Message& message, const FieldDescriptor& field) {
  if (field.is_map()) return WriteMapField(message, field);
  if (!field.is_repeated()) return WriteValue(message, field, -1);
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) out_ << YAML::Flow;
  out_ << YAML::BeginSeq;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) WriteValue(message, field, i);
  out_ << YAML::EndSeq;
}

void Writer::WriteMapField(const Message& message, const FieldDescriptor& field) {
  const auto* reflection = message.GetReflection();
  std::map<std::string, const Message*> entries;  // The protobuf map has no order. Keys are strings.
  for (int i = 0; i < reflection->FieldSize(message, &field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, &field, i);
    entries[entry.GetReflection()->GetString(entry, entry.GetDescriptor()->map_key())] = &entry;
  }
  out_ << YAML::BeginMap;
  for (const auto& [key, entry] : entries) {
    out_ << YAML::Key;
    WriteString(key);
    out_ << YAML::Value;
    WriteValue(*entry, *entry->GetDescriptor()->map_value(), -1);
  }
  out_ << YAML::EndMap;
}

void Writer::WriteString(const std::string& text) {
  if (!IsPlainWord(text)) out_ << YAML::DoubleQuoted;
  out_ << text;
}

void Writer::WriteValue(const Message& m, const FieldDescriptor& f, int index) {
  const auto* r = m.GetReflection();
  const bool one = index < 0;
  switch (f.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return WriteMessage(one ? r->GetMessage(m, &f) : r->GetRepeatedMessage(m, &f, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return WriteString(one ? r->GetString(m, &f) : r->GetRepeatedString(m, &f, index));
    case FieldDescriptor::CPPTYPE_ENUM:
      out_ << ShortName(*(one ? r->GetEnum(m, &f) : r->GetRepeatedEnum(m, &f, index)));
      return;
    case FieldDescriptor::CPPTYPE_FLOAT:
      out_ << Shortest(one ? r->GetFloat(m, &f) : r->GetRepeatedFloat(m, &f, index));
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      out_ << Shortest(one ? r->GetDouble(m, &f) : r->GetRepeatedDouble(m, &f, index));
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      out_ << (one ? r->GetInt32(m, &f) : r->GetRepeatedInt32(m, &f, index));
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      out_ << (one ? r->GetInt64(m, &f) : r->GetRepeatedInt64(m, &f, index));
      return;
    case FieldDescriptor::CPPTYPE_UINT32:
      out_ << (one ? r->GetUInt32(m, &f) : r->GetRepeatedUInt32(m, &f, index));
      return;
    case FieldDescriptor::CPPTYPE_UINT64:
      out_ << (one ? r->GetUInt64(m, &f) : r->GetRepeatedUInt64(m, &f, index));
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      out_ << (one ? r->GetBool(m, &f) : r->GetRepeatedBool(m, &f, index));
      return;
  }
}

}  // namespace

std::string ProtoToYaml(const Message& message, const KeepZero& keep_zero) {
  Writer writer(keep_zero);
  writer.WriteMessage(message);
  return writer.text();
}

}  // namespace paramd
