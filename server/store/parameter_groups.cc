#include "server/store/parameter_groups.h"

namespace paramd {

namespace {

bool Matches(const v1::ParameterGroup& group, absl::string_view name) {
  for (const std::string& pattern : group.match()) {
    if (GlobMatch(pattern, name)) return true;
  }
  return false;
}

ParameterSettings Resolve(const v1::OptimizerSpec& optimizer, const ParameterSpec& parameter) {
  ParameterSettings settings;
  if (parameter.role == ParameterRole::kWeight) settings.weight_decay = optimizer.weight_decay();
  for (const v1::ParameterGroup& group : optimizer.groups()) {
    if (!Matches(group, parameter.name)) continue;
    if (group.has_weight_decay()) settings.weight_decay = group.weight_decay();
    if (group.has_learning_rate_scale()) settings.learning_rate_scale = group.learning_rate_scale();
    break;
  }
  return settings;
}

}  // namespace

bool GlobMatch(absl::string_view pattern, absl::string_view text) {
  size_t p = 0, t = 0;
  size_t star = absl::string_view::npos, resume = 0;  // The last '*' and where its match ends so far.
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<ParameterSettings> ResolveParameterGroups(const v1::OptimizerSpec& optimizer,
                                                      absl::Span<const ParameterSpec> parameters) {
  std::vector<ParameterSettings> settings;
  settings.reserve(parameters.size());
  for (const ParameterSpec& parameter : parameters) settings.push_back(Resolve(optimizer, parameter));
  return settings;
}

}  // namespace paramd
