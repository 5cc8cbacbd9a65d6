// output = f(input), element by element.
#ifndef PARAMD_WORKER_GRAPH_OPS_ACTIVATION_H_
#define PARAMD_WORKER_GRAPH_OPS_ACTIVATION_H_

#include <cstdint>
#include <memory>

#include "worker/device/ops.h"
#include "worker/graph/op.h"

namespace paramd {

struct ActivationOptions {
  ActivationKind kind = ActivationKind::kRelu;
  ValueId input = 0;
  ValueId output = 0;
  int64_t width = 0;
};

std::unique_ptr<Op> MakeActivation(const ActivationOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_ACTIVATION_H_
