// Where a program's tensors live and its operations run: the seam between worker/graph and the backends in
// worker/device/cpu (and later cuda).
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Device> device, CreateCpuDevice({.threads = 1}));
//   ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer, device->Allocate(1 << 20));
//   RETURN_IF_ERROR(device->Activation({.kind = ActivationKind::kRelu, .count = n, .x = x, .y = y}));
//
// Operations run in the order of the calls. Each is deterministic for a given instruction set and thread count, and
// allocates nothing after its first call. They check no shapes and no token ranges: the graph does that once, when it
// is built. A device is used by one thread at a time. Buffers must not outlive their device.
#ifndef PARAMD_WORKER_DEVICE_DEVICE_H_
#define PARAMD_WORKER_DEVICE_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/device/ops.h"

namespace paramd {

// A block of fp32 memory, aligned to 64 bytes, zero at first. Freed with the object.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  virtual float* data() = 0;
  virtual int64_t elements() const = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  // For people: kind, instruction set, threads, e.g. "cpu avx2 1 thread".
  virtual std::string description() const = 0;
  virtual int threads() const = 0;

  // kResourceExhausted when there is not enough memory, kInvalidArgument for a negative size.
  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(int64_t elements) = 0;

  virtual absl::Status Fill(float* x, int64_t count, float value) = 0;
  virtual absl::Status MatMul(const MatMulArgs& args) = 0;
  virtual absl::Status AddBias(const AddBiasArgs& args) = 0;
  virtual absl::Status SumRows(const SumRowsArgs& args) = 0;
  virtual absl::Status Activation(const ActivationArgs& args) = 0;
  virtual absl::Status ActivationGradient(const ActivationGradientArgs& args) = 0;
  virtual absl::Status LayerNorm(const LayerNormArgs& args) = 0;
  virtual absl::Status LayerNormGradient(const LayerNormGradientArgs& args) = 0;
  virtual absl::Status Dropout(const DropoutArgs& args) = 0;
  virtual absl::Status Embedding(const EmbeddingArgs& args) = 0;
  virtual absl::Status EmbeddingGradient(const EmbeddingGradientArgs& args) = 0;
  // Elements of scratch memory that Attention and AttentionGradient need for sequences up to this length.
  virtual int64_t AttentionScratchElements(int64_t sequence) const = 0;
  virtual absl::Status Attention(const AttentionArgs& args) = 0;
  virtual absl::Status AttentionGradient(const AttentionGradientArgs& args) = 0;
  // The sums are those of this call.
  virtual absl::StatusOr<CrossEntropySums> CrossEntropy(const CrossEntropyArgs& args) = 0;
  virtual absl::Status CrossEntropyGradient(const CrossEntropyGradientArgs& args) = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_DEVICE_H_
