// Time since boot, sleep and suspension included: what leases are measured with, since no one sets it and a process or
// machine that stood still sees how long.
//
//   const absl::Duration start = BootTime();
//
// Thread safe.
#ifndef PARAMD_COMMON_BASE_BOOT_TIME_H_
#define PARAMD_COMMON_BASE_BOOT_TIME_H_

#include <time.h>

#include "absl/time/time.h"

namespace paramd {

inline absl::Duration BootTime() {
  timespec now = {};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_BOOT_TIME_H_
