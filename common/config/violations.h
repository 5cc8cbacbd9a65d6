// What is wrong with a specification, field by field.
//
//   Violations violations;
//   violations.Add("spec.training.steps", "required");
//   return violations.ToStatus();
//
// The first violation of a path counts; at most kMaxViolations are kept. Not thread safe.
#ifndef PARAMD_COMMON_CONFIG_VIOLATIONS_H_
#define PARAMD_COMMON_CONFIG_VIOLATIONS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/error.h"

namespace paramd {

class Violations {
 public:
  static constexpr size_t kMaxViolations = 50;

  void Add(absl::string_view path, absl::string_view description);
  bool empty() const { return descriptions_.empty(); }
  bool full() const { return paths_.size() >= kMaxViolations; }
  // OK, or kInvalidArgument with reason INVALID_SPEC, "path: description" lines in order of discovery and metadata path
  // -> description.
  absl::Status ToStatus() const;

 private:
  std::vector<std::string> paths_;
  ErrorMetadata descriptions_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_VIOLATIONS_H_
