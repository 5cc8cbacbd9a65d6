// A model compiled for one device and batch size: forward, loss, backward, evaluation, next-token logits.
//
//   ASSIGN_OR_RETURN(auto program, CompileModel(*device, spec.model(), plan, {.batch_size = 8}));
//   ASSIGN_OR_RETURN(LossSums sums, program->ForwardBackward(batch, {seed, step, slot}, weights, gradients, gate,
//   sink));
//
// Weights and gradients are whole arenas laid out by the ArenaPlan. Results are a pure function of the arguments, the
// instruction set and the thread count of the device. Not thread safe; one program per thread. Does not keep the spans.
#ifndef PARAMD_WORKER_MODELS_MODEL_PROGRAM_H_
#define PARAMD_WORKER_MODELS_MODEL_PROGRAM_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "proto/job.pb.h"
#include "worker/data/batch.h"
#include "worker/device/device.h"

namespace paramd {

// What dropout is keyed by, besides the op.
struct RunKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t slot = 0;
};

struct LossSums {
  double loss_sum = 0;  // Over `count` predictions (tokens, or a classifier's examples).
  int64_t count = 0;
  int64_t correct = 0;  // Top-1 hits; counted by Evaluate only.
};

// Asked before the first use of a parameter in the forward pass; may block until its weights are there.
class ParameterGate {
 public:
  virtual ~ParameterGate() = default;
  virtual absl::Status WaitForParameter(int parameter) = 0;
};

// Told when the gradient of a parameter is final, during the backward pass, each exactly once.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  virtual absl::Status GradientFinal(int parameter) = 0;
};

class ModelProgram {
 public:
  virtual ~ModelProgram() = default;

  // Overwrites `gradients` with the gradient of the mean loss of the batch (padding becomes 0). Dropout is on.
  // An error of gate or sink ends the pass and is returned. kInvalidArgument: batch or arena of another shape, a token
  // or label out of range.
  virtual absl::StatusOr<LossSums> ForwardBackward(const Batch& batch, const RunKey& key,
                                                   absl::Span<const float> weights, absl::Span<float> gradients,
                                                   ParameterGate& gate, GradientSink& sink) = 0;

  // Loss without dropout. The batch may hold fewer examples than the batch size.
  virtual absl::StatusOr<LossSums> Evaluate(const Batch& batch, absl::Span<const float> weights) = 0;

  // Language models: logits [vocab_size] after the last of `tokens` (1..context). kUnimplemented for others.
  virtual absl::Status NextTokenLogits(absl::Span<const int32_t> tokens, absl::Span<const float> weights,
                                       absl::Span<float> logits) = 0;

  // Bytes of activations and scratch memory.
  virtual int64_t memory_bytes() const = 0;
};

struct CompileOptions {
  int64_t batch_size = 1;
};

// kInvalidArgument when the plan's parameters are not the model's.
absl::StatusOr<std::unique_ptr<ModelProgram>> CompileModel(Device& device, const v1::ModelSpec& model,
                                                           const ArenaPlan& plan, const CompileOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_MODELS_MODEL_PROGRAM_H_
