#include "common/partition/memory.h"

namespace paramd {

int OptimizerStateCount(v1::OptimizerType type) {
  switch (type) {
    case v1::OPTIMIZER_TYPE_SGD:
      return 0;
    case v1::OPTIMIZER_TYPE_MOMENTUM:
    case v1::OPTIMIZER_TYPE_NESTEROV:
    case v1::OPTIMIZER_TYPE_ADAGRAD:
      return 1;
    default:  // RMSPROP, ADAM, ADAMW, and unset: the most there is.
      return 2;
  }
}

int64_t ServerBytesPerElement(v1::OptimizerType type) {
  constexpr int64_t kWeight = 4, kLedger = 8, kSnapshots = 8;
  return kWeight + 4 * OptimizerStateCount(type) + kLedger + kSnapshots;
}

}  // namespace paramd
