// What gRPC gives as it comes: generated code with protobuf `bytes` in unary calls, and a bidirectional stream of byte
// buffers, both on channels with default arguments but for the message size. The new weights land in the worker's
// arena, as paramd's do.
//
// The unary worker has several calls in flight through the callback API, each with a message of its own that it reuses.
// The stream sends a header and the tensor's own memory as two slices: no protobuf, no copies, the best that a user of
// default arguments gets. `tuned_stream` is the same stream with paramd's channel arguments: what is left between it
// and paramd_tcp is paramd's own work.
#ifndef PARAMD_TESTS_BENCH_STOCK_WORKER_H_
#define PARAMD_TESTS_BENCH_STOCK_WORKER_H_

#include <memory>

#include "tests/bench/data_plane_node.h"

namespace paramd {

std::unique_ptr<DataPlaneNode> StockUnaryWorker();
std::unique_ptr<DataPlaneNode> StockStreamWorker();

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_STOCK_WORKER_H_
