// paramd_build_info{version,build_mode,isa} = 1: which program this is.
//
//   RegisterBuildInfo(*registry);
//
// Thread safe.
#ifndef PARAMD_COMMON_METRICS_BUILD_INFO_H_
#define PARAMD_COMMON_METRICS_BUILD_INFO_H_

#include <string>

#include "prometheus/registry.h"

namespace paramd {

// "opt" or "dbg".
std::string BuildMode();
// The widest vector instruction set of this processor: "avx512", "avx2" or "baseline".
std::string InstructionSet();

// Adds the gauge; once per registry is enough, more do no harm.
void RegisterBuildInfo(prometheus::Registry& registry);

}  // namespace paramd

#endif  // PARAMD_COMMON_METRICS_BUILD_INFO_H_
