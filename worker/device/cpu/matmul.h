// Strict fp32 matrix products by oneDNN.
#ifndef PARAMD_WORKER_DEVICE_CPU_MATMUL_H_
#define PARAMD_WORKER_DEVICE_CPU_MATMUL_H_

#include "absl/status/status.h"
#include "worker/device/ops.h"

namespace paramd {

// Runs on the threads that the caller may use (parallel.h); on one inside a ParallelFor. Thread safe. kInternal with
// oneDNN's code and the shape when oneDNN refuses.
absl::Status CpuMatMul(const MatMulArgs& args);

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_CPU_MATMUL_H_
