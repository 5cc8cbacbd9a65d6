// The ceiling: bytes through one TCP connection of the loopback, one way, plain sockets, one write or read per chunk.
#ifndef PARAMD_TESTS_BENCH_DATA_PLANE_RAW_H_
#define PARAMD_TESTS_BENCH_DATA_PLANE_RAW_H_

#include <memory>

#include "tests/bench/data_plane_node.h"

namespace paramd {

// Receives and drops.
std::unique_ptr<DataPlaneNode> RawServer();
// Sends the gradients.
std::unique_ptr<DataPlaneNode> RawWorker();

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_DATA_PLANE_RAW_H_
