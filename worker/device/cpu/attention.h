// Causal attention on the CPU: per head, in blocks of rows, so that scores above the diagonal's block are never
// computed and a head's tiles stay in the cache. Products by oneDNN, softmax by CpuKernels.
//
// Heads are split among threads; the result does not depend on how. Stateless and thread safe.
#ifndef PARAMD_WORKER_DEVICE_CPU_ATTENTION_H_
#define PARAMD_WORKER_DEVICE_CPU_ATTENTION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "worker/device/cpu/kernels.h"
#include "worker/device/ops.h"

namespace paramd {

int64_t AttentionScratchElements(int64_t sequence, int threads);
absl::Status CpuAttention(const CpuKernels& kernels, int threads, const AttentionArgs& args);
absl::Status CpuAttentionGradient(const CpuKernels& kernels, int threads, const AttentionGradientArgs& args);

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_CPU_ATTENTION_H_
