// output = input with elements dropped with probability `rate` and the others scaled by 1 / (1 - rate); a copy when not
// training. The mask is computed again in the backward pass.
#ifndef PARAMD_WORKER_GRAPH_OPS_DROPOUT_H_
#define PARAMD_WORKER_GRAPH_OPS_DROPOUT_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

struct DropoutOptions {
  ValueId input = 0;
  ValueId output = 0;
  int64_t width = 0;
  float rate = 0;  // [0, 1).
};

std::unique_ptr<Op> MakeDropout(const DropoutOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_DROPOUT_H_
