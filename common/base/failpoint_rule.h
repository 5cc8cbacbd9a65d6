// One rule of PARAMD_FAILPOINTS: which points it is about, what it does there, and when.
//
//   ASSIGN_OR_RETURN(std::vector<FailpointRule> rules, ParseFailpointRules("file.*=errno(EIO)@hit=3"));
//   if (rules[0].Matches(point) && rules[0].Fires()) ...
//
// Pure, but for the counters, which Fires moves. Not thread safe.
#ifndef PARAMD_COMMON_BASE_FAILPOINT_RULE_H_
#define PARAMD_COMMON_BASE_FAILPOINT_RULE_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/failpoint.h"

namespace paramd {

enum class FailpointAction { kDelay, kFail, kAbort, kPause, kErrno, kTorn, kOn };

struct FailpointRule {
  std::string pattern;  // A name, or the start of one and '*'.
  FailpointAction action = FailpointAction::kDelay;
  absl::Duration delay;  // kDelay.
  absl::Status status;   // kFail; the point's name is added when it fires.
  std::string path;      // kPause: goes on when this file exists.
  IoFault io;            // kErrno, kTorn.

  // Fires at the hits first, ..., last, with this probability, and at most `times` times.
  uint64_t first = 1;
  uint64_t last = std::numeric_limits<uint64_t>::max();
  double probability = 1;
  uint64_t seed = 1;
  uint64_t times = std::numeric_limits<uint64_t>::max();

  // Over all points that match.
  uint64_t hits = 0;
  uint64_t fired = 0;

  bool Matches(absl::string_view name) const;
  // Counts a hit; whether it is one to act at. A function of the hit's number and the seed.
  bool Fires();
};

// Rules divided by ';'. Each matches at least one point, and all points it matches can do what it says. Errors as
// ArmFailpoints.
absl::StatusOr<std::vector<FailpointRule>> ParseFailpointRules(absl::string_view text);

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_FAILPOINT_RULE_H_
