// output = (input - mean) / sqrt(variance + epsilon) * gamma + beta, per row (Ba, Kiros, Hinton, 2016).
#ifndef PARAMD_WORKER_GRAPH_OPS_LAYER_NORM_H_
#define PARAMD_WORKER_GRAPH_OPS_LAYER_NORM_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

struct LayerNormOptions {
  ValueId input = 0;
  ValueId output = 0;
  int64_t width = 0;
  float epsilon = 1e-5f;
  int gamma = 0;
  int beta = 0;
};

std::unique_ptr<Op> MakeLayerNorm(const LayerNormOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_LAYER_NORM_H_
