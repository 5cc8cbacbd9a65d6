#include "common/config/violations.h"

#include "absl/strings/str_cat.h"

namespace paramd {

void Violations::Add(absl::string_view path, absl::string_view description) {
  if (full() || !descriptions_.emplace(std::string(path), std::string(description)).second) return;
  paths_.emplace_back(path);
}

absl::Status Violations::ToStatus() const {
  if (empty()) return absl::OkStatus();
  std::string message;
  for (const std::string& path : paths_) {
    absl::StrAppend(&message, message.empty() ? "" : "\n", path, ": ", descriptions_.at(path));
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC", message, descriptions_);
}

}  // namespace paramd
