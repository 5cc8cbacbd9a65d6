#include "common/config/yaml_to_proto.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/enum_names.h"
#include "common/config/suggest.h"
#include "common/config/violations.h"
#include "google/protobuf/descriptor.h"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMaxShownBytes = 80;

std::string Quote(absl::string_view text) {
  if (text.size() <= kMaxShownBytes) return absl::StrCat("\"", text, "\"");
  return absl::StrCat("\"", text.substr(0, kMaxShownBytes), "...\"");
}

std::string Describe(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (node.IsNull()) return "null";
  return Quote(node.Scalar());
}

// Plain digits with an optional sign: anything else is not an integer at all, rather than one out of range.
bool LooksLikeInteger(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty()) return false;
  for (char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return true;
}

bool IsQuoted(const YAML::Node& node) { return node.Tag() == "!"; }

// One document's walk. Errors go to the violations; what is wrong is left unset.
class Converter {
 public:
  Converter(Violations& violations, GivenScalars* given) : violations_(violations), given_(given) {}

  void ConvertMap(const YAML::Node& node, const std::string& path, int depth, Message& message);

 private:
  void ConvertField(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                    Message& message);
  void ConvertValue(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                    Message& message);
  void ConvertList(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                   Message& message);
  void ConvertMapField(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                       Message& message);
  void ConvertScalar(const YAML::Node& node, const std::string& path, const FieldDescriptor& field, Message& message);

  template <typename T>
  void ConvertInteger(const YAML::Node& node, const std::string& path, const FieldDescriptor& field, Message& message);
  template <typename T>
  void ConvertReal(const YAML::Node& node, const std::string& path, const FieldDescriptor& field, Message& message);
  void ConvertEnum(const YAML::Node& node, const std::string& path, const FieldDescriptor& field, Message& message);

  const FieldDescriptor* FindField(const YAML::Node& key, const std::string& path, const Descriptor& type);
  // Counts the value and checks the depth; false: go no further.
  bool Enter(const YAML::Node& node, const std::string& path, int depth);
  void Fail(const YAML::Node& node, const std::string& path, absl::string_view what) {
    violations_.Add(path, absl::StrCat(what, " (line ", node.Mark().line + 1, ")"));
  }

  Violations& violations_;
  GivenScalars* const given_;
  int nodes_ = 0;
};

bool Converter::Enter(const YAML::Node& node, const std::string& path, int depth) {
  if (violations_.full()) return false;
  if (depth > kMaxDepth) {
    Fail(node, path, absl::StrCat("nested more than ", kMaxDepth, " deep"));
    return false;
  }
  if (++nodes_ == kMaxNodes) Fail(node, path, absl::StrCat("the document has more than ", kMaxNodes, " values"));
  return nodes_ < kMaxNodes;
}

const FieldDescriptor* Converter::FindField(const YAML::Node& key, const std::string& path, const Descriptor& type) {
  if (!key.IsScalar()) {
    Fail(key, path, absl::StrCat("keys must be field names, got ", Describe(key)));
    return nullptr;
  }
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (key.Scalar() == field->name() || key.Scalar() == field->json_name()) return field;
    names.push_back(field->name());
  }
  const std::string suggestion = Suggest(absl::AsciiStrToLower(key.Scalar()), names);
  const absl::string_view shown = absl::string_view(key.Scalar()).substr(0, kMaxShownBytes);
  Fail(key, absl::StrCat(path, ".", shown),
       suggestion.empty() ? absl::StrCat("unknown field; there are ", absl::StrJoin(names, ", "))
                          : absl::StrCat("unknown field; did you mean \"", suggestion, "\"?"));
  return nullptr;
}

void Converter::ConvertMap(const YAML::Node& node, const std::string& path, int depth, Message& message) {
  if (!Enter(node, path, depth)) return;
  if (!node.IsMap()) return Fail(node, path, absl::StrCat("expected a map of fields, got ", Describe(node)));
  std::set<const FieldDescriptor*> seen;
  for (const auto& entry : node) {
    const FieldDescriptor* field = FindField(entry.first, path, *message.GetDescriptor());
    if (field == nullptr) continue;
    const std::string field_path = absl::StrCat(path, ".", field->name());
    if (!seen.insert(field).second) {
      Fail(entry.first, field_path, "given twice");
    } else if (!entry.second.IsNull()) {
      ConvertField(entry.second, field_path, depth + 1, *field, message);
    }
  }
}

void Converter::ConvertField(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                             Message& message) {
  if (field.is_map()) return ConvertMapField(node, path, depth, field, message);
  if (field.is_repeated()) return ConvertList(node, path, depth, field, message);
  const auto* oneof = field.real_containing_oneof();
  if (oneof != nullptr && message.GetReflection()->HasOneof(message, oneof)) {
    std::vector<std::string> names;
    for (int i = 0; i < oneof->field_count(); ++i) names.push_back(oneof->field(i)->name());
    return Fail(node, path, absl::StrCat("only one of ", absl::StrJoin(names, ", "), " may be given"));
  }
  ConvertValue(node, path, depth, field, message);
}

// One value; appended when the field is repeated.
void Converter::ConvertValue(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                             Message& message) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const auto* reflection = message.GetReflection();
    Message* child =
        field.is_repeated() ? reflection->AddMessage(&message, &field) : reflection->MutableMessage(&message, &field);
    return ConvertMap(node, path, depth, *child);
  }
  if (Enter(node, path, depth)) ConvertScalar(node, path, field, message);
}

void Converter::ConvertList(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor& field,
                            Message& message) {
  if (!Enter(node, path, depth)) return;
  if (!node.IsSequence()) return Fail(node, path, absl::StrCat("expected a list, got ", Describe(node)));
  for (size_t i = 0; i < node.size(); ++i) {
    ConvertValue(node[i], absl::StrCat(path, "[", i, "]"), depth + 1, field, message);
  }
}

void Converter::ConvertMapField(const YAML::Node& node, const std::string& path, int depth,
                                const FieldDescriptor& field, Message& message) {
  if (!Enter(node, path, depth)) return;
  if (!node.IsMap()) return Fail(node, path, absl::StrCat("expected a map, got ", Describe(node)));
  std::set<std::string> seen;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      Fail(entry.first, path, absl::StrCat("keys must be scalars, got ", Describe(entry.first)));
      continue;
    }
    const std::string entry_path = absl::StrCat(path, "[", Quote(entry.first.Scalar()), "]");
    if (!seen.insert(entry.first.Scalar()).second) {
      Fail(entry.first, entry_path, "given twice");
      continue;
    }
    Message* pair = message.GetReflection()->AddMessage(&message, &field);
    ConvertValue(entry.first, entry_path, depth + 1, *pair->GetDescriptor()->map_key(), *pair);
    ConvertValue(entry.second, entry_path, depth + 1, *pair->GetDescriptor()->map_value(), *pair);
  }
}

// Sets or appends a scalar through reflection; one overload for each C++ type.
void Put(Message& m, const FieldDescriptor& f, int32_t v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddInt32(&m, &f, v) : r->SetInt32(&m, &f, v);
}
void Put(Message& m, const FieldDescriptor& f, int64_t v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddInt64(&m, &f, v) : r->SetInt64(&m, &f, v);
}
void Put(Message& m, const FieldDescriptor& f, uint32_t v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddUInt32(&m, &f, v) : r->SetUInt32(&m, &f, v);
}
void Put(Message& m, const FieldDescriptor& f, uint64_t v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddUInt64(&m, &f, v) : r->SetUInt64(&m, &f, v);
}
void Put(Message& m, const FieldDescriptor& f, float v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddFloat(&m, &f, v) : r->SetFloat(&m, &f, v);
}
void Put(Message& m, const FieldDescriptor& f, double v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddDouble(&m, &f, v) : r->SetDouble(&m, &f, v);
}
void Put(Message& m, const FieldDescriptor& f, const std::string& v) {
  const auto* r = m.GetReflection();
  f.is_repeated() ? r->AddString(&m, &f, v) : r->SetString(&m, &f, v);
}

void Converter::ConvertScalar(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                              Message& message) {
  const bool text = field.type() == FieldDescriptor::TYPE_STRING;
  if (!node.IsScalar()) {
    return Fail(node, path, absl::StrCat("expected ", text ? "a string" : "a single value", ", got ", Describe(node)));
  }
  if (given_ != nullptr) (*given_)[path] = node.Scalar();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return ConvertInteger<int32_t>(node, path, field, message);
    case FieldDescriptor::CPPTYPE_INT64:
      return ConvertInteger<int64_t>(node, path, field, message);
    case FieldDescriptor::CPPTYPE_UINT32:
      return ConvertInteger<uint32_t>(node, path, field, message);
    case FieldDescriptor::CPPTYPE_UINT64:
      return ConvertInteger<uint64_t>(node, path, field, message);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return ConvertReal<float>(node, path, field, message);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return ConvertReal<double>(node, path, field, message);
    case FieldDescriptor::CPPTYPE_ENUM:
      return ConvertEnum(node, path, field, message);
    default:
      if (!text) return Fail(node, path, absl::StrCat("fields of type ", field.type_name(), " are not supported"));
      return Put(message, field, node.Scalar());
  }
}

template <typename T>
void Converter::ConvertInteger(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                               Message& message) {
  const std::string& text = node.Scalar();
  const bool quoted_number = sizeof(T) < 8 && IsQuoted(node);
  if (!LooksLikeInteger(text) || quoted_number) {
    return Fail(node, path, absl::StrCat("expected an integer, got ", quoted_number ? "the string " : "", Quote(text)));
  }
  T value;
  if (!absl::SimpleAtoi(text, &value)) {
    return Fail(node, path,
                absl::StrCat("must be in ", std::numeric_limits<T>::min(), "..", std::numeric_limits<T>::max(),
                             ", got ", absl::string_view(text).substr(0, kMaxShownBytes)));
  }
  Put(message, field, value);
}

template <typename T>
void Converter::ConvertReal(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                            Message& message) {
  const std::string& text = node.Scalar();
  double value;
  if (IsQuoted(node) || !absl::SimpleAtod(text, &value)) {
    const std::string lower = absl::AsciiStrToLower(text);
    const bool special = lower == ".nan" || lower == ".inf" || lower == "-.inf" || lower == "+.inf";
    return Fail(node, path,
                absl::StrCat(special ? "must be finite, got " : "expected a number, got ",
                             IsQuoted(node) ? "the string " : "", Quote(text)));
  }
  if (!std::isfinite(value) || !std::isfinite(static_cast<T>(value))) {
    return Fail(node, path, absl::StrCat("must be finite, got ", Quote(text)));
  }
  Put(message, field, static_cast<T>(value));
}

void Converter::ConvertEnum(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                            Message& message) {
  const auto* value = FindEnumValue(*field.enum_type(), node.Scalar());
  if (value == nullptr) {
    const std::vector<std::string> names = ShortNames(*field.enum_type());
    const std::string suggestion = Suggest(absl::AsciiStrToLower(node.Scalar()), names);
    return Fail(node, path,
                absl::StrCat("must be one of ", absl::StrJoin(names, ", "), "; got ", Quote(node.Scalar()),
                             suggestion.empty() ? "" : absl::StrCat("; did you mean \"", suggestion, "\"?")));
  }
  const auto* reflection = message.GetReflection();
  field.is_repeated() ? reflection->AddEnum(&message, &field, value) : reflection->SetEnum(&message, &field, value);
}

// Throws what yaml-cpp throws.
void ConvertDocument(const std::string& text, const std::string& root, Message& message, GivenScalars* given,
                     Violations& violations) {
  const std::vector<YAML::Node> documents = YAML::LoadAll(text);
  if (documents.empty() || documents[0].IsNull()) return violations.Add(root, "the document is empty");
  if (documents.size() > 1) {
    return violations.Add(root, absl::StrCat("expected one document, got ", documents.size()));
  }
  Converter(violations, given).ConvertMap(documents[0], root, 1, message);
}

}  // namespace

absl::Status YamlToProto(absl::string_view text, absl::string_view root, Message& message, GivenScalars* given) {
  Violations violations;
  const std::string name(root);
  try {
    if (text.size() > kMaxDocumentBytes) {
      violations.Add(name, absl::StrCat("the document has ", text.size(), " bytes; at most ", kMaxDocumentBytes));
    } else {
      ConvertDocument(std::string(text), name, message, given, violations);
    }
  } catch (const YAML::Exception& error) {
    const std::string line = error.mark.is_null() ? "" : absl::StrCat(" (line ", error.mark.line + 1, ")");
    violations.Add(name, absl::StrCat("not valid YAML or JSON: ", error.msg, line));
  } catch (const std::exception& error) {
    violations.Add(name, absl::StrCat("not valid YAML or JSON: ", error.what()));
  }
  return violations.ToStatus();
}

}  // namespace paramd
