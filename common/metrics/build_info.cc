#include "common/metrics/build_info.h"

#include "common/config/version.h"
#include "prometheus/gauge.h"

namespace paramd {

std::string BuildMode() {
#ifdef NDEBUG
  return "opt";
#else
  return "dbg";
#endif
}

std::string InstructionSet() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return "avx512";
  if (__builtin_cpu_supports("avx2")) return "avx2";
#endif
  return "baseline";
}

void RegisterBuildInfo(prometheus::Registry& registry) {
  prometheus::BuildGauge()
      .Name("paramd_build_info")
      .Help("Constant 1; the labels say which build this is.")
      .Register(registry)
      .Add({{"version", kVersion}, {"build_mode", BuildMode()}, {"isa", InstructionSet()}})
      .Set(1);
}

}  // namespace paramd
