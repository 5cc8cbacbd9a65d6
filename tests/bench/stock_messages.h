// The parts that both ends of the stock paths share: channel arguments, the model, the message of the stream.
//
// Tensor messages of the stream are written by hand as header and payload slice and read in place; the bytes are those
// of stock.proto. Not thread safe unless stated.
#ifndef PARAMD_TESTS_BENCH_STOCK_MESSAGES_H_
#define PARAMD_TESTS_BENCH_STOCK_MESSAGES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/rpc/channel_arguments.h"
#include "common/tensor/payload.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/bench/data_plane_node.h"

namespace paramd {

// The model as the stock paths cut it.
struct StockModel {
  explicit StockModel(const NodeConfig& config);
  int64_t elements_of(int chunk) const;
  absl::Span<float> Part(int chunk, std::vector<float>& arena) const;
  absl::string_view Bytes(int chunk, const std::vector<float>& arena) const;

  int64_t elements = 0;
  int64_t chunk_elements = 0;
  int chunks = 0;
};

// The channel arguments of the case: the message size, and on a tuned path paramd's.
std::vector<IntArgument> StockArguments(const NodeConfig& config, bool server);

// weights[i] -= kLearningRate * gradient i.
void Descend(const PayloadView& gradient, absl::Span<float> weights);

struct StockMessage {
  uint32_t chunk = 0;
  bool acknowledge_only = false;
  absl::string_view payload;  // To send. Borrowed until gRPC has sent it.
};

// The payload is not copied.
grpc::ByteBuffer EncodeStockMessage(const StockMessage& message);

// A received message; the payload's fragments point into the buffer.
struct ReceivedStockMessage {
  grpc::ByteBuffer buffer;
  uint32_t chunk = 0;
  bool acknowledge_only = false;
  FragmentVector fragments;
  size_t payload_bytes = 0;
  PayloadView payload() const { return PayloadView(fragments, payload_bytes); }
};

// Reads `message.buffer`. kInvalidArgument when it is no Tensor.
absl::Status DecodeStockMessage(ReceivedStockMessage& message);

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_STOCK_MESSAGES_H_
