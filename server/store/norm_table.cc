#include "server/store/norm_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {

absl::Status NormTable::Add(uint64_t step, uint32_t chunk, double squared_norm) {
  const auto found = std::lower_bound(chunks_.begin(), chunks_.end(), chunk);
  if (found == chunks_.end() || *found != chunk) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_CHUNK",
                     absl::StrCat("norm of chunk ", chunk, ", which is not one of the ", chunks_.size(), " expected"));
  }
  if (step > first_incomplete_) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "STEP_AHEAD",
                     absl::StrCat("norm of step ", step, " while step ", first_incomplete_, " is open"));
  }
  if (step + kKeptSteps < first_incomplete_) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "STEP_FORGOTTEN",
                     absl::StrCat("norm of step ", step, " while step ", first_incomplete_, " is open"));
  }
  const size_t size = chunks_.size();
  Step& open = steps_.try_emplace(step, Step{std::vector<double>(size), std::vector<bool>(size), size}).first->second;
  const size_t index = found - chunks_.begin();
  if (open.known[index]) return absl::OkStatus();
  open.norms[index] = squared_norm;
  open.known[index] = true;
  if (--open.missing > 0) return absl::OkStatus();
  ++first_incomplete_;
  if (first_incomplete_ > kKeptSteps) steps_.erase(first_incomplete_ - kKeptSteps - 1);
  return absl::OkStatus();
}

std::optional<double> NormTable::Total(uint64_t step) const {
  const auto found = steps_.find(step);
  if (found == steps_.end() || found->second.missing > 0) return std::nullopt;
  double total = 0;
  for (double norm : found->second.norms) total += norm;
  return total;
}

}  // namespace paramd
