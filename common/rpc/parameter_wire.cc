// The encoder: fields in the order of their numbers, what is zero or empty left out, as generated code does.
#include "common/rpc/parameter_wire.h"

#include <grpc/slice.h>

#include <cstring>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/numeric/bits.h"
#include "common/rpc/wire_reader.h"

namespace paramd {
namespace {

using Request = v1::ParameterRequest;
using Response = v1::ParameterResponse;

size_t VarintSize(uint64_t value) { return (static_cast<size_t>(absl::bit_width(value | 1)) + 6) / 7; }

constexpr uint64_t Tag(int field, WireType type) {
  return static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(type);
}

// The two destinations of what is written: first one that only counts, then memory of that size.
class Counter {
 public:
  void Varint(uint64_t value) { size_ += VarintSize(value); }
  void Fixed32(uint32_t) { size_ += sizeof(uint32_t); }
  void Bytes(absl::string_view bytes) { size_ += bytes.size(); }
  size_t size() const { return size_; }

 private:
  size_t size_ = 0;
};

class Writer {
 public:
  explicit Writer(uint8_t* out) : out_(out) {}
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) *out_++ = static_cast<uint8_t>(value | 0x80);
    *out_++ = static_cast<uint8_t>(value);
  }
  void Fixed32(uint32_t value) {
    for (int i = 0; i < 4; ++i) *out_++ = static_cast<uint8_t>(value >> (8 * i));
  }
  void Bytes(absl::string_view bytes) {
    std::memcpy(out_, bytes.data(), bytes.size());
    out_ += bytes.size();
  }

 private:
  uint8_t* out_;
};

// Fields, left out when they have their default. Signed values and enums go through 64 bits, sign and all.
template <typename Out>
void PutVarint(Out& out, int field, uint64_t value) {
  if (value == 0) return;
  out.Varint(Tag(field, WireType::kVarint));
  out.Varint(value);
}

template <typename Out>
void PutSigned(Out& out, int field, int64_t value) {
  PutVarint(out, field, static_cast<uint64_t>(value));
}

template <typename Out>
void PutFixed32(Out& out, int field, uint32_t value) {
  if (value == 0) return;
  out.Varint(Tag(field, WireType::kFixed32));
  out.Fixed32(value);
}

template <typename Out>
void PutBytes(Out& out, int field, absl::string_view bytes) {
  if (bytes.empty()) return;
  out.Varint(Tag(field, WireType::kLength));
  out.Varint(bytes.size());
  out.Bytes(bytes);
}

// The tag and length of a payload; its bytes follow in slices of their own.
template <typename Out>
void PutPayload(Out& out, int field, size_t size) {
  if (size == 0) return;
  out.Varint(Tag(field, WireType::kLength));
  out.Varint(size);
}

template <typename Out>
void PutSharedMemory(Out& out, const SharedMemoryName& name) {
  PutSigned(out, v1::SharedMemory::kPidFieldNumber, name.pid);
  PutSigned(out, v1::SharedMemory::kFdFieldNumber, name.fd);
  PutVarint(out, v1::SharedMemory::kBytesFieldNumber, name.bytes);
  PutBytes(out, v1::SharedMemory::kTokenFieldNumber, name.token);
}

// A message is what comes before the payload's bytes, the payload, and what comes after.
template <typename Out>
void PutBefore(Out& out, const RequestHeader& header, size_t payload_size) {
  PutVarint(out, Request::kRequestIdFieldNumber, header.request_id);
  PutBytes(out, Request::kJobIdFieldNumber, header.job_id);
  PutVarint(out, Request::kGenerationFieldNumber, header.generation);
  PutVarint(out, Request::kWorkerIndexFieldNumber, header.worker_index);
  PutVarint(out, Request::kWorkerIncarnationFieldNumber, header.worker_incarnation);
  PutSigned(out, Request::kOperationFieldNumber, header.operation);
  PutVarint(out, Request::kChunkFieldNumber, header.chunk);
  PutVarint(out, Request::kStepFieldNumber, header.step);
  PutVarint(out, Request::kFirstSlotFieldNumber, header.first_slot);
  PutVarint(out, Request::kLog2SizeFieldNumber, header.log2_size);
  PutVarint(out, Request::kSlotCountFieldNumber, header.slot_count);
  PutVarint(out, Request::kMinVersionFieldNumber, header.min_version);
  PutVarint(out, Request::kMinClockFieldNumber, header.min_clock);
  PutSigned(out, Request::kCodecFieldNumber, header.codec);
  PutFixed32(out, Request::kCrc32CFieldNumber, header.crc32c);
  PutVarint(out, Request::kDeadlineMsFieldNumber, header.deadline_ms);
  PutPayload(out, Request::kPayloadFieldNumber, payload_size);
}

template <typename Out>
void PutAfter(Out& out, const RequestHeader& header) {
  PutSigned(out, Request::kAnswerCodecFieldNumber, header.answer_codec);
  if (header.shared_memory.has_value()) {  // A message that is there is written even when all its fields are zero.
    Counter size;
    PutSharedMemory(size, *header.shared_memory);
    out.Varint(Tag(Request::kSharedMemoryFieldNumber, WireType::kLength));
    out.Varint(size.size());
    PutSharedMemory(out, *header.shared_memory);
  }
  PutVarint(out, Request::kSharedPayloadOffsetFieldNumber, header.shared_payload_offset);
  PutVarint(out, Request::kSharedPayloadBytesFieldNumber, header.shared_payload_bytes);
  PutVarint(out, Request::kSharedAnswerOffsetFieldNumber, header.shared_answer_offset);
  PutVarint(out, Request::kExactVersionFieldNumber, header.exact_version);
}

template <typename Out>
void PutBefore(Out& out, const ResponseHeader& header, size_t payload_size) {
  PutVarint(out, Response::kRequestIdFieldNumber, header.request_id);
  PutSigned(out, Response::kCodeFieldNumber, header.code);
  PutBytes(out, Response::kReasonFieldNumber, header.reason);
  PutBytes(out, Response::kMessageFieldNumber, header.message);
  PutVarint(out, Response::kChunkFieldNumber, header.chunk);
  PutVarint(out, Response::kVersionFieldNumber, header.version);
  PutVarint(out, Response::kMinClockFieldNumber, header.min_clock);
  PutVarint(out, Response::kDuplicateFieldNumber, header.duplicate);
  PutSigned(out, Response::kCodecFieldNumber, header.codec);
  PutFixed32(out, Response::kCrc32CFieldNumber, header.crc32c);
  PutPayload(out, Response::kPayloadFieldNumber, payload_size);
}

template <typename Out>
void PutAfter(Out& out, const ResponseHeader& header) {
  PutVarint(out, Response::kSharedAnswerBytesFieldNumber, header.shared_answer_bytes);
}

// A slice of exactly what `put` writes.
template <typename Put>
grpc::Slice WriteSlice(Put put) {
  Counter counter;
  put(counter);
  grpc_slice slice = grpc_slice_malloc(counter.size());
  Writer writer(GRPC_SLICE_START_PTR(slice));
  put(writer);
  return grpc::Slice(slice, grpc::Slice::STEAL_REF);
}

template <typename Header>
grpc::ByteBuffer Encode(const Header& header, absl::Span<const grpc::Slice> payload) {
  size_t payload_size = 0;
  for (const grpc::Slice& slice : payload) payload_size += slice.size();
  if (payload_size == 0) {
    const grpc::Slice all = WriteSlice([&](auto& out) {
      PutBefore(out, header, 0);
      PutAfter(out, header);
    });
    return grpc::ByteBuffer(&all, 1);
  }
  absl::InlinedVector<grpc::Slice, 8> slices;
  slices.reserve(payload.size() + 2);
  slices.push_back(WriteSlice([&](auto& out) { PutBefore(out, header, payload_size); }));
  slices.insert(slices.end(), payload.begin(), payload.end());
  grpc::Slice after = WriteSlice([&](auto& out) { PutAfter(out, header); });
  if (after.size() > 0) slices.push_back(std::move(after));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace

grpc::ByteBuffer EncodeRequest(const RequestHeader& header, absl::Span<const grpc::Slice> payload) {
  return Encode(header, payload);
}

grpc::ByteBuffer EncodeResponse(const ResponseHeader& header, absl::Span<const grpc::Slice> payload) {
  return Encode(header, payload);
}

grpc::Slice AliasSlice(absl::string_view bytes, std::shared_ptr<const void> owner) {
  using Owner = std::shared_ptr<const void>;
  const auto release = [](void* held) { delete static_cast<Owner*>(held); };
  // gRPC only reads the bytes; its prototype lacks the const.
  return grpc::Slice(const_cast<char*>(bytes.data()), bytes.size(), release, new Owner(std::move(owner)));
}

grpc::Slice BorrowSlice(absl::string_view bytes) {
  return grpc::Slice(bytes.data(), bytes.size(), grpc::Slice::STATIC_SLICE);
}

}  // namespace paramd
