// Opaque page tokens of ListJobs: the ordinal of the last job listed, bound to the filter it was made for. Pure, thread
// safe.
#ifndef PARAMD_SERVER_COORDINATOR_PAGE_TOKEN_H_
#define PARAMD_SERVER_COORDINATOR_PAGE_TOKEN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

std::string MakePageToken(uint64_t ordinal, const std::vector<v1::JobState>& filter);

// kInvalidArgument INVALID_PAGE_TOKEN: not made by MakePageToken, or for another filter.
absl::StatusOr<uint64_t> ParsePageToken(const std::string& token, const std::vector<v1::JobState>& filter);

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_PAGE_TOKEN_H_
