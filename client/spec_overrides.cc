#include "client/spec_overrides.h"

#include <cstddef>
#include <exception>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

absl::Status BadOverride(absl::string_view override_text, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "BAD_FLAG", absl::StrCat("--set ", override_text, ": ", what));
}

// The child of `node` that `part` names, made if missing.
absl::StatusOr<YAML::Node> Child(YAML::Node node, const std::string& part, absl::string_view override_text) {
  if (part.empty()) return BadOverride(override_text, "empty name in the path");
  if (node.IsScalar()) return BadOverride(override_text, absl::StrCat("\"", part, "\" lies inside a value"));
  if (!node.IsSequence()) return YAML::Node(node[part]);
  size_t index = 0;
  if (!absl::SimpleAtoi(part, &index) || index > node.size()) {
    return BadOverride(override_text, absl::StrCat("\"", part, "\" is no index of a list of ", node.size()));
  }
  if (index == node.size()) node.push_back(YAML::Node());
  return YAML::Node(node[index]);
}

absl::Status ApplyOne(YAML::Node& root, const std::string& override_text) {
  const size_t equals = override_text.find('=');
  if (equals == std::string::npos || equals == 0) return BadOverride(override_text, "must be path=value");
  std::vector<std::string> path = absl::StrSplit(override_text.substr(0, equals), '.');
  if (path.size() > 1 && path.front() == "spec") path.erase(path.begin());
  YAML::Node node = root;
  for (const std::string& part : path) {
    ASSIGN_OR_RETURN(YAML::Node child, Child(node, part, override_text));
    node.reset(child);
  }
  const std::string value = override_text.substr(equals + 1);
  node = value.empty() ? YAML::Node("") : YAML::Load(value);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ApplyOverrides(const std::string& text, const std::vector<std::string>& overrides) {
  if (overrides.empty()) return text;
  std::string now = "the specification";
  try {
    YAML::Node root = YAML::Load(text);
    if (root.IsNull()) root = YAML::Node(YAML::NodeType::Map);
    if (!root.IsMap()) return BadOverride(overrides.front(), "the specification is not a map");
    for (const std::string& override_text : overrides) {
      now = override_text;
      RETURN_IF_ERROR(ApplyOne(root, override_text));
    }
    now = "the specification";
    return YAML::Dump(root);
  } catch (const std::exception& exception) {
    return BadOverride(now, exception.what());
  }
}

}  // namespace paramd
