// Lifetimes of a program's tensors over forward and backward pass, and their places in one block.
//
// Step i is the forward run of op i, step 2n-1-i its backward run. Pure and thread safe.
#ifndef PARAMD_WORKER_GRAPH_PROGRAM_MEMORY_H_
#define PARAMD_WORKER_GRAPH_PROGRAM_MEMORY_H_

#include <cstdint>
#include <vector>

#include "worker/graph/graph.h"

namespace paramd {

// Offsets in elements; -1: the tensor does not exist.
struct ProgramMemory {
  struct OpTensors {
    std::vector<int64_t> stashes;
    int64_t forward_scratch = -1;
    int64_t backward_scratch = -1;
  };
  std::vector<int64_t> values;
  std::vector<int64_t> gradients;
  std::vector<OpTensors> ops;
  int64_t elements = 0;
};

// `rows`: the most rows of a run.
ProgramMemory PlanProgramMemory(const Graph& graph, int64_t rows);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_PROGRAM_MEMORY_H_
