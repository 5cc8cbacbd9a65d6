#include "common/rpc/coordinator_choice.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/address.h"

namespace paramd {
namespace {

absl::Status BadList(absl::string_view text, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_ADDRESS",
                   absl::StrCat("coordinators \"", text, "\": ", what));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseCoordinatorList(absl::string_view text) {
  std::vector<std::string> addresses;
  for (const absl::string_view address : absl::StrSplit(text, ',')) {
    ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(address));
    if (parsed.port == 0) return BadList(text, absl::StrCat(address, " needs a port"));
    if (std::find(addresses.begin(), addresses.end(), std::string(address)) != addresses.end()) {
      return BadList(text, absl::StrCat(address, " is named twice"));
    }
    addresses.emplace_back(address);
  }
  if (addresses.size() > kMaxCoordinators) return BadList(text, absl::StrCat("more than ", kMaxCoordinators));
  return addresses;
}

bool CoordinatorChoice::Next(const absl::Status& why) {
  const ErrorMetadata metadata = GetErrorMetadata(why);
  const auto leader = metadata.find("leader");
  const bool named = ErrorReason(why) == "NOT_LEADER" && leader != metadata.end() && leader->second != current();
  if (hint_.empty()) {
    index_ = (index_ + 1) % addresses_.size();
    ++tried_;
  }
  hint_.clear();
  if (named && !hinted_) {
    hinted_ = true;
    hint_ = leader->second;
    return true;
  }
  if (tried_ < addresses_.size()) return true;
  tried_ = 0;
  hinted_ = false;
  return false;
}

void CoordinatorChoice::Served() {
  tried_ = 0;
  hinted_ = false;
}

}  // namespace paramd
