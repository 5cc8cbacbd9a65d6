#include "client/output.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

using OrderedJson = nlohmann::ordered_json;

// Whether YAML reads the text as a string without quotes, whatever its version.
bool PlainInYaml(const std::string& text) {
  static constexpr const char* kReserved[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/' || text[0] == '_')) return false;
  std::string lower = text;
  for (char& c : lower) c = absl::ascii_tolower(c);
  for (const char* word : kReserved) {
    if (lower == word) return false;
  }
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '/' || c == '.';
  });
}

void EmitYaml(const OrderedJson& value, YAML::Emitter& emitter) {
  if (value.is_object()) {
    emitter << YAML::BeginMap;
    for (const auto& [key, entry] : value.items()) {
      emitter << YAML::Key << key << YAML::Value;
      EmitYaml(entry, emitter);
    }
    emitter << YAML::EndMap;
  } else if (value.is_array()) {
    const bool scalars = std::none_of(value.begin(), value.end(), [](const auto& e) { return e.is_structured(); });
    if (scalars) emitter << YAML::Flow;
    emitter << YAML::BeginSeq;
    for (const OrderedJson& entry : value) EmitYaml(entry, emitter);
    emitter << YAML::EndSeq;
  } else if (value.is_string()) {
    const std::string text = value.get<std::string>();
    if (!PlainInYaml(text)) emitter << YAML::DoubleQuoted;
    emitter << text;
  } else {
    emitter << value.dump();  // Numbers, booleans, null: JSON's spelling is YAML's.
  }
}

}  // namespace

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message, JsonLayout layout) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = layout == JsonLayout::kIndented;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return absl::InternalError(absl::StrCat("cannot write JSON: ", status.ToString()));
  if (text.empty() || text.back() != '\n') text += '\n';
  return text;
}

absl::StatusOr<std::string> ToYaml(const google::protobuf::Message& message) {
  absl::StatusOr<std::string> json = ToJson(message, JsonLayout::kOneLine);
  if (!json.ok()) return json.status();
  try {
    YAML::Emitter emitter;
    EmitYaml(OrderedJson::parse(*json), emitter);
    return absl::StrCat(emitter.c_str(), "\n");
  } catch (const std::exception& exception) {
    return absl::InternalError(absl::StrCat("cannot write YAML: ", exception.what()));
  }
}

Table::Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(rows_.front().size());
  rows_.push_back(std::move(cells));
}

std::string Table::ToString() const {
  std::vector<size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      absl::StrAppend(&line, row[i], last ? "" : std::string(widths[i] - row[i].size() + 2, ' '));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

absl::Status WriteMessage(const google::protobuf::Message& message, OutputFormat format, std::ostream& out) {
  if (format == OutputFormat::kTable) return absl::InternalError("a table needs its own code");
  absl::StatusOr<std::string> text =
      format == OutputFormat::kJson ? ToJson(message, JsonLayout::kIndented) : ToYaml(message);
  if (!text.ok()) return text.status();
  out << *text << std::flush;
  return absl::OkStatus();
}

absl::Status WriteStreamMessage(const google::protobuf::Message& message, OutputFormat format, std::ostream& out) {
  if (format == OutputFormat::kTable) return absl::InternalError("a table needs its own code");
  absl::StatusOr<std::string> text =
      format == OutputFormat::kJson ? ToJson(message, JsonLayout::kOneLine) : ToYaml(message);
  if (!text.ok()) return text.status();
  out << (format == OutputFormat::kYaml ? "---\n" : "") << *text << std::flush;
  return absl::OkStatus();
}

}  // namespace paramd
