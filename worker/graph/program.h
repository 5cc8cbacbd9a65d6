// A graph made ready to run on a device: the backward pass derived, the memory of both passes planned and allocated.
//
//   ASSIGN_OR_RETURN(auto program, Program::Create(device, std::move(graph), plan, {.max_examples = 8, .max_sequence =
//   128})); ASSIGN_OR_RETURN(CrossEntropySums sums, program->ForwardBackward(inputs, key, arenas, gate, sink));
//
// The backward pass is the ops in reverse. A gradient is overwritten by the first op that contributes and added to by
// the others. Weights are read from, and gradients written to, the arenas in place. Not thread safe. The device must
// outlive the program. Allocates nothing while it runs.
#ifndef PARAMD_WORKER_GRAPH_PROGRAM_H_
#define PARAMD_WORKER_GRAPH_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "worker/device/device.h"
#include "worker/graph/graph.h"

namespace paramd {

struct ProgramOptions {
  int64_t max_examples = 1;
  int64_t max_sequence = 1;
};

// Told a parameter's index; an error ends the pass.
using ParameterCallback = absl::FunctionRef<absl::Status(int parameter)>;

class Program {
 public:
  // kInternal when the graph is broken, kResourceExhausted when its memory is not to be had.
  static absl::StatusOr<std::unique_ptr<Program>> Create(Device& device, Graph graph, const ArenaPlan& plan,
                                                         const ProgramOptions& options);

  // `inputs` within the options' limits; `weights` and `gradients` whole arenas. Gradients are those of the mean loss
  // over the counted rows (zero if there are none); padding becomes 0. `before_use` is called before the first op that
  // reads the parameter, `gradient_final` when no op will write its gradient any more; each once per parameter.
  absl::StatusOr<CrossEntropySums> ForwardBackward(const RunInputs& inputs, const RandomKey& key,
                                                   absl::Span<const float> weights, absl::Span<float> gradients,
                                                   ParameterCallback before_use, ParameterCallback gradient_final);

  // Without dropout.
  absl::StatusOr<CrossEntropySums> Forward(const RunInputs& inputs, absl::Span<const float> weights);
  // Runs the ops up to the one that writes `value`; the result [rows, width] is valid until the next call.
  absl::StatusOr<const float*> ForwardTo(ValueId value, const RunInputs& inputs, absl::Span<const float> weights);

  Device& device() { return device_; }
  // Of all activations, their gradients and scratch.
  int64_t memory_bytes() const { return memory_->elements() * static_cast<int64_t>(sizeof(float)); }

 private:
  class Context;

  // What the planner found out about one op.
  struct OpPlan {
    std::vector<float*> stashes;
    float* forward_scratch = nullptr;
    float* backward_scratch = nullptr;
    std::vector<ValueId> accumulated;      // Inputs whose gradient has been written by a later op.
    std::vector<int> accumulated_weights;  // The same for parameters.
    std::vector<int> first_uses;           // Parameters that no earlier op uses: waited for, and final, here.
  };

  Program(Device& device, Graph graph, const ArenaPlan& plan);
  void PlanBackward();
  absl::Status PlaceTensors(const ProgramOptions& options);
  absl::Status RunForward(Context& context, int ops, ParameterCallback before_use);
  absl::Status RunBackward(Context& context);

  Device& device_;
  const Graph graph_;
  std::vector<ElementRange> parameters_;
  std::vector<ElementRange> padding_;
  std::vector<OpPlan> ops_;
  std::unique_ptr<DeviceBuffer> memory_;
  std::vector<float*> values_;     // nullptr for inputs.
  std::vector<float*> gradients_;  // nullptr where not wanted.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_PROGRAM_H_
