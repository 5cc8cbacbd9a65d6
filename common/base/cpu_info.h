// What this processor can do.
//
//   spdlog::info("cpu: {} threads, {}", HardwareThreads(), IsaName(DetectIsa()));
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_BASE_CPU_INFO_H_
#define PARAMD_COMMON_BASE_CPU_INFO_H_

#include "absl/strings/string_view.h"

namespace paramd {

// Instruction sets that kernels are written for; each includes those before it.
enum class Isa { kPortable, kAvx2, kAvx512 };

// The best one this processor and operating system offer.
Isa DetectIsa();

// "portable", "avx2" or "avx512".
absl::string_view IsaName(Isa isa);

// Processors this process may run on, at least 1.
int HardwareThreads();

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_CPU_INFO_H_
