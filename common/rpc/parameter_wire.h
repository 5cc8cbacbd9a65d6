// ParameterRequest and ParameterResponse between their fields and the bytes on the wire, without a copy of the payload:
// plain protobuf (docs/formats.md has worked examples), hand-encoded, so that any generated client speaks to it.
//
//   grpc::Slice weights = AliasSlice(snapshot->payload(), snapshot);
//   grpc::ByteBuffer out = EncodeResponse({.request_id = 7, .version = 3}, absl::MakeSpan(&weights, 1));
//
//   InboundRequest in;                       // in.buffer filled by gRPC
//   RETURN_IF_ERROR(DecodeRequest(in));
//   AddFloats(in.payload(), 0, ledger);      // straight out of the received slices
//
// Encoding gives the same bytes as the generated code's SerializeAsString. It allocates the header's slice and what
// gRPC needs for a ByteBuffer, nothing else.
//
// Decoding takes fields in any order, cut into slices anywhere, skips unknown fields and lets the last of a repeated
// field win (the parts of a repeated shared_memory are merged), as generated code does. It is stricter than that in
// this: a known field of another wire type, groups, a job_id of more than 63 bytes and a token of more than 16 are
// refused. It allocates for what was received only: the text of an error, and 16 bytes for each slice beyond 8.
//
// Functions are thread safe on different messages. Slices keep what they alias alive as their makers say.
#ifndef PARAMD_COMMON_RPC_PARAMETER_WIRE_H_
#define PARAMD_COMMON_RPC_PARAMETER_WIRE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/tensor/payload.h"
#include "proto/parameter.pb.h"

namespace paramd {

// Metadata with which a client asks for the checksums of answers where the server would leave them out.
inline constexpr char kChecksumMetadata[] = "paramd-checksum";
inline constexpr char kChecksumAlways[] = "always";

// Up to kCapacity bytes without the heap.
template <size_t kCapacity>
class InlineString {
 public:
  InlineString() = default;
  // `text` has at most kCapacity bytes; what is longer is cut off.
  InlineString(absl::string_view text) { Append(text); }  // NOLINT: a value of this type, not a conversion.
  InlineString(const char* text) : InlineString(absl::string_view(text)) {}         // NOLINT
  InlineString(const std::string& text) : InlineString(absl::string_view(text)) {}  // NOLINT

  static constexpr size_t capacity() { return kCapacity; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  absl::string_view view() const { return absl::string_view(bytes_.data(), size_); }
  operator absl::string_view() const { return view(); }  // NOLINT

  void clear() { size_ = 0; }
  // Takes what fits; false when that is not all.
  bool Append(absl::string_view text) {
    const size_t taken = std::min(text.size(), kCapacity - size_);
    std::copy_n(text.data(), taken, bytes_.data() + size_);
    size_ = static_cast<uint8_t>(size_ + taken);
    return taken == text.size();
  }

  friend bool operator==(const InlineString& a, const InlineString& b) { return a.view() == b.view(); }

 private:
  static_assert(kCapacity < 256);
  std::array<char, kCapacity> bytes_;
  uint8_t size_ = 0;
};

using JobIdString = InlineString<63>;
using SharedMemoryToken = InlineString<16>;

// v1::SharedMemory.
struct SharedMemoryName {
  int64_t pid = 0;
  int32_t fd = 0;
  uint64_t bytes = 0;
  SharedMemoryToken token;
  bool operator==(const SharedMemoryName&) const = default;
};

// v1::ParameterRequest without its payload. Enums may hold numbers without a name, as the peer sent them.
struct RequestHeader {
  uint64_t request_id = 0;
  JobIdString job_id;  // UTF-8.
  uint64_t generation = 0;
  uint32_t worker_index = 0;
  uint64_t worker_incarnation = 0;
  v1::Operation operation = v1::OPERATION_UNSPECIFIED;
  uint32_t chunk = 0;
  uint64_t step = 0;
  uint32_t first_slot = 0;
  uint32_t log2_size = 0;
  uint32_t slot_count = 0;
  uint64_t min_version = 0;
  uint64_t min_clock = 0;
  v1::Codec codec = v1::CODEC_UNSPECIFIED;
  uint32_t crc32c = 0;
  uint32_t deadline_ms = 0;
  v1::Codec answer_codec = v1::CODEC_UNSPECIFIED;
  std::optional<SharedMemoryName> shared_memory;
  uint64_t shared_payload_offset = 0;
  uint64_t shared_payload_bytes = 0;
  uint64_t shared_answer_offset = 0;
  bool exact_version = false;
  bool operator==(const RequestHeader&) const = default;
};

// v1::ParameterResponse without its payload.
struct ResponseHeader {
  uint64_t request_id = 0;
  int32_t code = 0;
  std::string reason;   // UTF-8.
  std::string message;  // UTF-8.
  uint32_t chunk = 0;
  uint64_t version = 0;
  uint64_t min_clock = 0;
  bool duplicate = false;
  v1::Codec codec = v1::CODEC_UNSPECIFIED;
  uint32_t crc32c = 0;
  uint64_t shared_answer_bytes = 0;
  bool operator==(const ResponseHeader&) const = default;
};

// A received message: owns the bytes, which the fragments of the payload point into. To be used again: Clear() (which
// keeps the memory of the fragments), let gRPC fill `buffer`, decode.
template <typename Header>
struct InboundMessage {
  InboundMessage() = default;
  InboundMessage(const InboundMessage&) = delete;  // A copy's fragments would point into the original.
  InboundMessage& operator=(const InboundMessage&) = delete;

  void Clear() {
    buffer.Clear();
    ClearDecoded();
  }
  void ClearDecoded() {
    header = Header();
    fragments.resize(0);  // clear() would give back the memory.
    payload_size = 0;
  }
  PayloadView payload() const { return PayloadView(fragments, payload_size); }

  grpc::ByteBuffer buffer;
  Header header;
  FragmentVector fragments;
  size_t payload_size = 0;
};

using InboundRequest = InboundMessage<RequestHeader>;
using InboundResponse = InboundMessage<ResponseHeader>;

// Fills everything from message.buffer, whatever was there before. kInvalidArgument, MALFORMED_MESSAGE: the buffer
// holds no such message; the header then has the fields before the fault and the payload is empty.
absl::Status DecodeRequest(InboundRequest& message);
absl::Status DecodeResponse(InboundResponse& message);

// The message on the wire. Payload slices are referenced, not copied; none, or only empty ones: no payload. Less than
// 2 GiB in all.
grpc::ByteBuffer EncodeRequest(const RequestHeader& header, absl::Span<const grpc::Slice> payload);
grpc::ByteBuffer EncodeResponse(const ResponseHeader& header, absl::Span<const grpc::Slice> payload);

// Keeps `owner` alive until gRPC drops the slice, on whichever thread that is.
grpc::Slice AliasSlice(absl::string_view bytes, std::shared_ptr<const void> owner);

// The caller keeps the bytes alive and unchanged until no message with the slice can be on its way any more. Allocates
// nothing.
grpc::Slice BorrowSlice(absl::string_view bytes);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_PARAMETER_WIRE_H_
