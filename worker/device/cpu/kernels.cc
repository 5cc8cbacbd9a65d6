#include "worker/device/cpu/kernels.h"

namespace paramd {

std::vector<const CpuKernels*> SupportedCpuKernels() {
  __builtin_cpu_init();
  std::vector<const CpuKernels*> kernels;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) kernels.push_back(&Avx512Kernels());
  if (__builtin_cpu_supports("avx2")) kernels.push_back(&Avx2Kernels());
  kernels.push_back(&BaselineKernels());
  return kernels;
}

const CpuKernels& BestCpuKernels() { return *SupportedCpuKernels().front(); }

}  // namespace paramd
