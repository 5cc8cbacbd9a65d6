// The mean over counted rows of -log softmax(logits)[target]; a target of -1 is not counted. Targets are
// RunInputs.targets. The graph's loss: the last op, without an output value. The sums of all rows go to
// OpContext::sums().
#ifndef PARAMD_WORKER_GRAPH_OPS_CROSS_ENTROPY_H_
#define PARAMD_WORKER_GRAPH_OPS_CROSS_ENTROPY_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

struct CrossEntropyOptions {
  ValueId logits = 0;
  int64_t classes = 0;
};

std::unique_ptr<Op> MakeCrossEntropy(const CrossEntropyOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_CROSS_ENTROPY_H_
