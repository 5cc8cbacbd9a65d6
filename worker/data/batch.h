// One slot's input.
#ifndef PARAMD_WORKER_DATA_BATCH_H_
#define PARAMD_WORKER_DATA_BATCH_H_

#include <cstdint>
#include <vector>

namespace paramd {

struct Batch {
  int64_t examples = 0;
  // Language models: tokens and next-token targets, [examples, context] row major; a target of -1 is not counted.
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  // Classifiers: features [examples, inputs] row major, labels [examples] in targets.
  std::vector<float> features;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_BATCH_H_
