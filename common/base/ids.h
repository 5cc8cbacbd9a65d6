// Names that must not repeat, and where we are.
//
//   std::string job_id = absl::StrCat(spec.name(), "-", RandomSuffix(6));
//
// Thread safe.
#ifndef PARAMD_COMMON_BASE_IDS_H_
#define PARAMD_COMMON_BASE_IDS_H_

#include <cstdint>
#include <string>

#include "common/base/clock.h"

namespace paramd {

// `length` characters of [a-z0-9], from the operating system's random numbers; each equally likely.
std::string RandomSuffix(int length);

// The incarnation of a daemon that starts now: microseconds since the epoch.
uint64_t NewIncarnation(const Clock& clock);

// This machine's name, "localhost" when it has none.
std::string HostName();

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_IDS_H_
