// The decoder: one switch per message from field numbers to members.
#include <climits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/utf8.h"
#include "common/rpc/parameter_wire.h"
#include "common/rpc/wire_reader.h"

namespace paramd {
namespace {

using Request = v1::ParameterRequest;
using Response = v1::ParameterResponse;

// Integers and bools of any width; enums keep numbers that have no name.
template <typename T>
bool ReadVarintField(WireReader& in, const WireTag& tag, T& out) {
  uint64_t value;
  if (!in.Expect(tag, WireType::kVarint) || !in.ReadVarint(value)) return false;
  if constexpr (std::is_enum_v<T>) {
    out = static_cast<T>(static_cast<int>(value));
  } else {
    out = static_cast<T>(value);
  }
  return true;
}

bool ReadFixed32Field(WireReader& in, const WireTag& tag, uint32_t& out) {
  return in.Expect(tag, WireType::kFixed32) && in.ReadFixed32(out);
}

template <size_t kCapacity>
bool ReadBytesField(WireReader& in, const WireTag& tag, InlineString<kCapacity>& out) {
  size_t size;
  if (!in.Expect(tag, WireType::kLength) || !in.ReadLength(size)) return false;
  out.clear();
  if (size > kCapacity) return in.Fail("longer than allowed");
  return in.ReadBytes(size, [&](absl::string_view piece) { return out.Append(piece); });
}

bool ReadBytesField(WireReader& in, const WireTag& tag, std::string& out) {
  size_t size;
  if (!in.Expect(tag, WireType::kLength) || !in.ReadLength(size)) return false;
  out.clear();
  out.reserve(size);
  return in.ReadBytes(size, [&](absl::string_view piece) {
    absl::StrAppend(&out, piece);
    return true;
  });
}

template <typename String>
bool ReadTextField(WireReader& in, const WireTag& tag, String& out) {
  return ReadBytesField(in, tag, out) && (IsUtf8(out) || in.Fail("not UTF-8"));
}

template <typename Header>
bool ReadPayload(WireReader& in, const WireTag& tag, InboundMessage<Header>& message) {
  size_t size;
  if (!in.Expect(tag, WireType::kLength) || !in.ReadLength(size)) return false;
  message.fragments.resize(0);
  message.payload_size = size;
  return in.ReadBytes(size, [&](absl::string_view piece) {
    message.fragments.push_back(piece);
    return true;
  });
}

bool ReadField(WireReader& in, const WireTag& tag, SharedMemoryName& name) {
  switch (tag.field) {
    case v1::SharedMemory::kPidFieldNumber:
      return ReadVarintField(in, tag, name.pid);
    case v1::SharedMemory::kFdFieldNumber:
      return ReadVarintField(in, tag, name.fd);
    case v1::SharedMemory::kBytesFieldNumber:
      return ReadVarintField(in, tag, name.bytes);
    case v1::SharedMemory::kTokenFieldNumber:
      return ReadBytesField(in, tag, name.token);
    default:
      return in.Skip(tag.type);
  }
}

// Merges with what an earlier occurrence of the field has set, as the format prescribes for messages.
bool ReadSharedMemory(WireReader& in, const WireTag& tag, std::optional<SharedMemoryName>& name) {
  size_t size;
  if (!in.Expect(tag, WireType::kLength) || !in.ReadLength(size)) return false;
  if (!name.has_value()) name.emplace();
  const size_t outside = in.Enter(size);
  while (!in.AtEnd()) {
    WireTag inner;
    if (!in.ReadTag(inner) || !ReadField(in, inner, *name)) return false;
  }
  in.Leave(outside);
  return true;
}

bool ReadField(WireReader& in, const WireTag& tag, InboundRequest& message) {
  RequestHeader& header = message.header;
  switch (tag.field) {
    case Request::kRequestIdFieldNumber:
      return ReadVarintField(in, tag, header.request_id);
    case Request::kJobIdFieldNumber:
      return ReadTextField(in, tag, header.job_id);
    case Request::kGenerationFieldNumber:
      return ReadVarintField(in, tag, header.generation);
    case Request::kWorkerIndexFieldNumber:
      return ReadVarintField(in, tag, header.worker_index);
    case Request::kWorkerIncarnationFieldNumber:
      return ReadVarintField(in, tag, header.worker_incarnation);
    case Request::kOperationFieldNumber:
      return ReadVarintField(in, tag, header.operation);
    case Request::kChunkFieldNumber:
      return ReadVarintField(in, tag, header.chunk);
    case Request::kStepFieldNumber:
      return ReadVarintField(in, tag, header.step);
    case Request::kFirstSlotFieldNumber:
      return ReadVarintField(in, tag, header.first_slot);
    case Request::kLog2SizeFieldNumber:
      return ReadVarintField(in, tag, header.log2_size);
    case Request::kSlotCountFieldNumber:
      return ReadVarintField(in, tag, header.slot_count);
    case Request::kMinVersionFieldNumber:
      return ReadVarintField(in, tag, header.min_version);
    case Request::kMinClockFieldNumber:
      return ReadVarintField(in, tag, header.min_clock);
    case Request::kCodecFieldNumber:
      return ReadVarintField(in, tag, header.codec);
    case Request::kCrc32CFieldNumber:
      return ReadFixed32Field(in, tag, header.crc32c);
    case Request::kDeadlineMsFieldNumber:
      return ReadVarintField(in, tag, header.deadline_ms);
    case Request::kPayloadFieldNumber:
      return ReadPayload(in, tag, message);
    case Request::kAnswerCodecFieldNumber:
      return ReadVarintField(in, tag, header.answer_codec);
    case Request::kSharedMemoryFieldNumber:
      return ReadSharedMemory(in, tag, header.shared_memory);
    case Request::kSharedPayloadOffsetFieldNumber:
      return ReadVarintField(in, tag, header.shared_payload_offset);
    case Request::kSharedPayloadBytesFieldNumber:
      return ReadVarintField(in, tag, header.shared_payload_bytes);
    case Request::kSharedAnswerOffsetFieldNumber:
      return ReadVarintField(in, tag, header.shared_answer_offset);
    case Request::kExactVersionFieldNumber:
      return ReadVarintField(in, tag, header.exact_version);
    default:
      return in.Skip(tag.type);
  }
}

bool ReadField(WireReader& in, const WireTag& tag, InboundResponse& message) {
  ResponseHeader& header = message.header;
  switch (tag.field) {
    case Response::kRequestIdFieldNumber:
      return ReadVarintField(in, tag, header.request_id);
    case Response::kCodeFieldNumber:
      return ReadVarintField(in, tag, header.code);
    case Response::kReasonFieldNumber:
      return ReadTextField(in, tag, header.reason);
    case Response::kMessageFieldNumber:
      return ReadTextField(in, tag, header.message);
    case Response::kChunkFieldNumber:
      return ReadVarintField(in, tag, header.chunk);
    case Response::kVersionFieldNumber:
      return ReadVarintField(in, tag, header.version);
    case Response::kMinClockFieldNumber:
      return ReadVarintField(in, tag, header.min_clock);
    case Response::kDuplicateFieldNumber:
      return ReadVarintField(in, tag, header.duplicate);
    case Response::kCodecFieldNumber:
      return ReadVarintField(in, tag, header.codec);
    case Response::kCrc32CFieldNumber:
      return ReadFixed32Field(in, tag, header.crc32c);
    case Response::kPayloadFieldNumber:
      return ReadPayload(in, tag, message);
    case Response::kSharedAnswerBytesFieldNumber:
      return ReadVarintField(in, tag, header.shared_answer_bytes);
    default:
      return in.Skip(tag.type);
  }
}

template <typename Header>
absl::Status Decode(InboundMessage<Header>& message, absl::string_view name) {
  message.ClearDecoded();
  WireReader in(message.buffer);
  WireTag tag;
  if (in.remaining() > INT_MAX) in.Fail("2 GiB or more");  // The limit of generated code.
  while (in.fault() == nullptr && !in.AtEnd()) {
    tag = {};
    if (in.ReadTag(tag)) ReadField(in, tag, message);
  }
  if (in.fault() == nullptr) return absl::OkStatus();
  message.fragments.resize(0);
  message.payload_size = 0;
  return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_MESSAGE",
                   absl::StrCat(name, " of ", message.buffer.Length(), " bytes: field ", tag.field, " before byte ",
                                in.position(), ": ", in.fault()));
}

}  // namespace

absl::Status DecodeRequest(InboundRequest& message) { return Decode(message, "ParameterRequest"); }

absl::Status DecodeResponse(InboundResponse& message) { return Decode(message, "ParameterResponse"); }

}  // namespace paramd
