// The CPU backend: oneDNN for matrix products, own vectorised loops for the rest. The oracle for other backends.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Device> device, CreateCpuDevice({.threads = 1}));
//
// Matrix products are strict fp32. Everything else gives the same bits for any instruction set and thread count.
// Not thread safe: a device is used by one thread at a time; several devices may work at the same time.
#ifndef PARAMD_WORKER_DEVICE_CPU_CPU_DEVICE_H_
#define PARAMD_WORKER_DEVICE_CPU_CPU_DEVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/device/device.h"

namespace paramd {

struct CpuDeviceOptions {
  int threads = 1;  // 1..1024, the calling thread included.
};

// kInvalidArgument for a thread count out of range.
absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const CpuDeviceOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_CPU_CPU_DEVICE_H_
