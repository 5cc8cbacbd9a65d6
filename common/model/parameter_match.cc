#include "common/model/parameter_match.h"

#include <string>

namespace paramd {

const v1::ParameterGroup* FindParameterGroup(const v1::OptimizerSpec& optimizer, absl::string_view name) {
  for (const v1::ParameterGroup& group : optimizer.groups()) {
    for (const std::string& pattern : group.match()) {
      if (GlobMatch(pattern, name)) return &group;
    }
  }
  return nullptr;
}

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

}  // namespace paramd
