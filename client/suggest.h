// "Did you mean": the known word closest to a mistyped one. Pure; thread safe.
#ifndef PARAMD_CLIENT_SUGGEST_H_
#define PARAMD_CLIENT_SUGGEST_H_

#include <string>
#include <vector>

namespace paramd {

// The candidate with the smallest edit distance (insertions, deletions, replacements, swaps of neighbours) to `word`,
// the first of equals; "" when none is within a third of the word's length, rounded up.
std::string ClosestWord(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace paramd

#endif  // PARAMD_CLIENT_SUGGEST_H_
