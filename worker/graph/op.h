// One operation of a graph, forward and backward, and what it sees when it runs.
//
// An op is built with the ids of the values and parameters that it works on and says in its signature what the planner
// must know. It keeps no tensors of its own: everything between forward and backward lies in kept values or stashes, so
// that memory is planned as a whole.
//
// All values are matrices [rows, width], rows = examples * sequence. Ops are immutable, thread safe, and check nothing
// at run time that the graph has checked.
#ifndef PARAMD_WORKER_GRAPH_OP_H_
#define PARAMD_WORKER_GRAPH_OP_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/device/device.h"

namespace paramd {

// Index of a value in its graph.
using ValueId = int;

// Where the gradient of an op's first input may lie when the op is its first writer.
enum class InPlaceGradient {
  kNo,
  kOverOutputGradient,  // Backward may be given the same memory for the gradients of inputs[0] and outputs[0].
  kOverInput,           // ... for inputs[0] and its gradient.
};

struct OpSignature {
  std::vector<ValueId> inputs;              // Distinct.
  std::vector<ValueId> outputs;             // Each written by this op alone.
  std::vector<int> parameters;              // Indices in the arena plan, distinct.
  std::vector<ValueId> kept;                // Inputs or outputs whose contents Backward reads.
  std::vector<int64_t> stash_row_elements;  // Own tensors from Forward to Backward, elements per row.
  int64_t forward_scratch_elements = 0;     // Contents undefined at the start of Forward.
  int64_t backward_scratch_elements = 0;
  InPlaceGradient in_place = InPlaceGradient::kNo;
};

// The batch. Pointers are to host memory and hold `examples * sequence` rows; unused ones are nullptr.
struct RunInputs {
  int64_t examples = 0;
  int64_t sequence = 1;
  const float* features = nullptr;  // [rows, width of the graph's input value].
  const int32_t* tokens = nullptr;
  const int32_t* targets = nullptr;
};

// What an op may use while it runs. Pointers are valid during the call only.
class OpContext {
 public:
  virtual ~OpContext() = default;

  virtual Device& device() = 0;
  virtual const RunInputs& inputs() const = 0;
  int64_t rows() const { return inputs().examples * inputs().sequence; }
  // Whether a backward pass follows; without it there is no dropout.
  virtual bool training() const = 0;
  // Keyed by the op as well.
  virtual RandomKey random_key() const = 0;

  virtual float* value(ValueId id) = 0;
  // nullptr when the gradient is not wanted (inputs of the graph).
  virtual float* gradient(ValueId id) = 0;
  // Whether Backward must add to gradient(id) because another consumer has written it.
  virtual bool accumulate(ValueId id) const = 0;

  virtual const float* weight(int parameter) = 0;
  virtual float* weight_gradient(int parameter) = 0;
  virtual bool accumulate_weight(int parameter) const = 0;
  // Backward calls it once per parameter, as soon as it has written (its part of) the gradient.
  virtual absl::Status WeightGradientWritten(int parameter) = 0;

  virtual float* stash(int index) = 0;
  virtual float* scratch() = 0;

  // The graph's loss: added to by loss ops in Forward.
  virtual CrossEntropySums& sums() = 0;
};

class Op {
 public:
  virtual ~Op() = default;
  virtual absl::string_view name() const = 0;
  virtual const OpSignature& signature() const = 0;
  virtual absl::Status Forward(OpContext& context) const = 0;
  virtual absl::Status Backward(OpContext& context) const = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OP_H_
