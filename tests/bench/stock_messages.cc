#include "tests/bench/stock_messages.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "common/rpc/channel.h"
#include "google/protobuf/io/coded_stream.h"
#include "grpc/grpc.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/slice.h"

namespace paramd {
namespace {

using google::protobuf::io::CodedInputStream;

constexpr uint32_t kChunkTag = 1 << 3 | 0;
constexpr uint32_t kPayloadTag = 2 << 3 | 2;
constexpr uint32_t kAcknowledgeOnlyTag = 3 << 3 | 0;
constexpr int kSmallChunks = 64;

uint8_t* WriteVarint(uint32_t value, uint8_t* out) {
  for (; value >= 0x80; value >>= 7) *out++ = static_cast<uint8_t>(value | 0x80);
  *out++ = static_cast<uint8_t>(value);
  return out;
}

bool ReadPayload(CodedInputStream& in, ReceivedStockMessage& message) {
  uint32_t left = 0;
  if (!in.ReadVarint32(&left)) return false;
  message.payload_bytes = left;
  while (left > 0) {
    const void* data = nullptr;
    int size = 0;
    if (!in.GetDirectBufferPointer(&data, &size)) return false;
    size = static_cast<int>(std::min<uint32_t>(size, left));
    message.fragments.emplace_back(static_cast<const char*>(data), size);
    if (!in.Skip(size)) return false;
    left -= size;
  }
  return true;
}

}  // namespace

StockModel::StockModel(const NodeConfig& config) {
  const int64_t chunk_bytes = config.measured.small ? kSmallMessageBytes : config.measured.chunk_bytes;
  chunk_elements = chunk_bytes / sizeof(float);
  elements = config.measured.small ? kSmallChunks * chunk_elements : config.settings.model_bytes / sizeof(float);
  chunks = static_cast<int>((elements + chunk_elements - 1) / chunk_elements);
}

int64_t StockModel::elements_of(int chunk) const { return std::min(chunk_elements, elements - chunk * chunk_elements); }

absl::Span<float> StockModel::Part(int chunk, std::vector<float>& arena) const {
  return absl::MakeSpan(arena).subspan(chunk * chunk_elements, elements_of(chunk));
}

absl::string_view StockModel::Bytes(int chunk, const std::vector<float>& arena) const {
  return {reinterpret_cast<const char*>(arena.data() + chunk * chunk_elements), elements_of(chunk) * sizeof(float)};
}

std::vector<IntArgument> StockArguments(const NodeConfig& config, bool server) {
  const auto limit = static_cast<int>(config.measured.chunk_bytes + kMessageOverheadBytes);
  std::vector<IntArgument> arguments;
  if (absl::StartsWith(config.measured.path, "tuned_")) {
    const BulkTransportOptions& transport = config.settings.transport;
    arguments =
        server ? ServerArguments(ChannelKind::kBulk, transport) : ClientArguments(ChannelKind::kBulk, transport);
  }
  arguments.push_back({GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, limit});
  arguments.push_back({GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, limit});
  return arguments;
}

void Descend(const PayloadView& gradient, absl::Span<float> weights) {
  constexpr size_t kBlock = 1024;
  float block[kBlock];
  FloatReader reader(gradient);
  for (size_t done = 0; done < weights.size(); done += kBlock) {
    const size_t size = std::min(kBlock, weights.size() - done);
    reader.Copy(absl::MakeSpan(block, size));
    for (size_t i = 0; i < size; ++i) weights[done + i] -= kLearningRate * block[i];
  }
}

grpc::ByteBuffer EncodeStockMessage(const StockMessage& message) {
  uint8_t header[24];
  uint8_t* end = header;
  *end++ = kChunkTag;
  end = WriteVarint(message.chunk, end);
  if (message.acknowledge_only) {
    *end++ = kAcknowledgeOnlyTag;
    *end++ = 1;
  }
  *end++ = kPayloadTag;
  end = WriteVarint(static_cast<uint32_t>(message.payload.size()), end);
  const grpc::Slice slices[] = {
      grpc::Slice(header, end - header),
      grpc::Slice(message.payload.data(), message.payload.size(), grpc::Slice::STATIC_SLICE),
  };
  return grpc::ByteBuffer(slices, message.payload.empty() ? 1 : 2);
}

absl::Status DecodeStockMessage(ReceivedStockMessage& message) {
  message.chunk = 0;
  message.acknowledge_only = false;
  message.fragments.clear();
  message.payload_bytes = 0;
  grpc::ProtoBufferReader reader(&message.buffer);
  CodedInputStream in(&reader);
  bool good = true;
  while (good) {
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return absl::OkStatus();
    uint32_t number = 0;
    if (tag == kPayloadTag) {
      good = ReadPayload(in, message);
    } else {
      good = in.ReadVarint32(&number);
      if (tag == kChunkTag) message.chunk = number;
      if (tag == kAcknowledgeOnlyTag) message.acknowledge_only = number != 0;
    }
  }
  return absl::InvalidArgumentError("no Tensor message");
}

}  // namespace paramd
