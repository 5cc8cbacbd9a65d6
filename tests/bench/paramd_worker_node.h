// paramd's worker in a process of its own: drives the ParameterClient as training does, without computing; the same
// gradient is pushed in every step.
#ifndef PARAMD_TESTS_BENCH_PARAMD_WORKER_NODE_H_
#define PARAMD_TESTS_BENCH_PARAMD_WORKER_NODE_H_

#include <memory>

#include "tests/bench/data_plane_node.h"

namespace paramd {

std::unique_ptr<DataPlaneNode> ParamdWorkerNode();

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_PARAMD_WORKER_NODE_H_
