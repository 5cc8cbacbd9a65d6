// output = residual + dropout(branch): the end of a residual branch in one pass. Dropout as in dropout.h.
#ifndef PARAMD_WORKER_GRAPH_OPS_RESIDUAL_ADD_H_
#define PARAMD_WORKER_GRAPH_OPS_RESIDUAL_ADD_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

struct ResidualAddOptions {
  ValueId residual = 0;
  ValueId branch = 0;
  ValueId output = 0;
  int64_t width = 0;
  float rate = 0;  // [0, 1).
};

std::unique_ptr<Op> MakeResidualAdd(const ResidualAddOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_RESIDUAL_ADD_H_
