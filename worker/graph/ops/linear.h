// output = input * W (+ bias).
//
// Backward: dW, then d bias, each reported as soon as it is written; then d input.
#ifndef PARAMD_WORKER_GRAPH_OPS_LINEAR_H_
#define PARAMD_WORKER_GRAPH_OPS_LINEAR_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

// How the weight is stored.
enum class WeightLayout {
  kOutIn,  // [output_width, input_width], as in PyTorch's Linear.
  kInOut,  // [input_width, output_width], as in GPT-2's Conv1D.
};

struct LinearOptions {
  ValueId input = 0;
  ValueId output = 0;
  int64_t input_width = 0;
  int64_t output_width = 0;
  int weight = 0;
  int bias = -1;  // -1: none.
  WeightLayout layout = WeightLayout::kOutIn;
};

std::unique_ptr<Op> MakeLinear(const LinearOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_LINEAR_H_
