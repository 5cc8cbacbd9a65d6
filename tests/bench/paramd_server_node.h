// paramd's server in a process of its own: the daemon's ParameterServer, without a coordinator.
#ifndef PARAMD_TESTS_BENCH_PARAMD_SERVER_NODE_H_
#define PARAMD_TESTS_BENCH_PARAMD_SERVER_NODE_H_

#include <memory>

#include "tests/bench/data_plane_node.h"

namespace paramd {

std::unique_ptr<DataPlaneNode> ParamdServerNode();

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_PARAMD_SERVER_NODE_H_
