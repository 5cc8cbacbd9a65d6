// `--set path=value` on a job specification.
//
//   ASSIGN_OR_RETURN(std::string changed, ApplyOverrides(text, {"training.steps=100",
//   "data.text.files.0=/tmp/a.txt"}));
//
// A path is the specification's field names with dots between them; a number is an element of a list (its end adds
// one). Missing maps are made. A value is YAML: 3, true, adamw, [784, 10]. Pure; thread safe.
#ifndef PARAMD_CLIENT_SPEC_OVERRIDES_H_
#define PARAMD_CLIENT_SPEC_OVERRIDES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace paramd {

// Returns `text` itself when there are no overrides, so that errors found later name the right lines. kInvalidArgument
// names the override: no "=", an empty part in the path, a path through a scalar, a list index out of range, YAML that
// does not parse.
absl::StatusOr<std::string> ApplyOverrides(const std::string& text, const std::vector<std::string>& overrides);

}  // namespace paramd

#endif  // PARAMD_CLIENT_SPEC_OVERRIDES_H_
