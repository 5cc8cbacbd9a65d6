// The other end of the stock paths: tests/bench/stock.proto with plain SGD, as a user of gRPC writes it.
//
// The unary method is generated callback code. The stream is served as byte buffers: gradients are applied out of the
// received slices, and answers are the weights' own memory, which does not change before the worker has them.
#ifndef PARAMD_TESTS_BENCH_STOCK_SERVER_H_
#define PARAMD_TESTS_BENCH_STOCK_SERVER_H_

#include <memory>

#include "tests/bench/data_plane_node.h"

namespace paramd {

std::unique_ptr<DataPlaneNode> StockServer();

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_STOCK_SERVER_H_
