// "Did you mean": the nearest of a few names to a mistyped one.
//
//   Suggest("optimiser", {"optimizer", "output"})  // "optimizer"
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_CONFIG_SUGGEST_H_
#define PARAMD_COMMON_CONFIG_SUGGEST_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace paramd {

// Insertions, deletions, substitutions and swaps of neighbours between `a` and `b` (optimal string alignment).
int EditDistance(absl::string_view a, absl::string_view b);

// The candidate nearest to `name`, "" when none is near: at most a third of the name's characters (and one at least)
// differ. Names of more than 64 characters get none.
std::string Suggest(absl::string_view name, const std::vector<std::string>& candidates);

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_SUGGEST_H_
