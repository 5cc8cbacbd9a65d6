#include "common/rpc/parameter_wire_testing.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace paramd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Any length of varint, extremes more often than their share.
uint64_t RandomNumber(Philox& random) {
  constexpr uint64_t kExtremes[] = {1, 127, 128, INT32_MAX, uint64_t{1} << 31, UINT32_MAX, INT64_MAX, UINT64_MAX};
  if (random.Below(3) == 0) return kExtremes[random.Below(std::size(kExtremes))];
  return random.Next64() >> random.Below(64);
}

std::string RandomBytes(Philox& random, size_t limit) {
  std::string bytes(random.Below(limit + 1), 0);
  for (char& byte : bytes) byte = static_cast<char>(random.Next32());
  return bytes;
}

std::string RandomText(Philox& random, size_t limit) {
  constexpr const char* kCharacters[] = {"a", "Z", "-", "\x01", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
  std::string text;
  for (size_t left = random.Below(limit + 1); left > 0;) {
    const std::string character = kCharacters[random.Below(std::size(kCharacters))];
    if (character.size() > left) break;
    text += character;
    left -= character.size();
  }
  return text;
}

void FillField(Philox& random, const FieldDescriptor& field, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, RandomNumber(random));
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, static_cast<uint32_t>(RandomNumber(random)));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, static_cast<int64_t>(RandomNumber(random)));
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, static_cast<int32_t>(RandomNumber(random)));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, random.Below(2) == 1);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnumValue(
          &message, &field,
          random.Below(4) == 0 ? static_cast<int>(RandomNumber(random)) : static_cast<int>(random.Below(9)));
    case FieldDescriptor::CPPTYPE_STRING: {
      const bool text = field.type() == FieldDescriptor::TYPE_STRING;
      return reflection.SetString(&message, &field,
                                  text                      ? RandomText(random, JobIdString::capacity())
                                  : field.name() == "token" ? RandomBytes(random, SharedMemoryToken::capacity())
                                                            : RandomBytes(random, 400));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FillRandomly(random, *reflection.MutableMessage(&message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      break;  // The messages have none.
  }
}

}  // namespace

RequestHeader HeaderOf(const v1::ParameterRequest& message) {
  RequestHeader header = {
      .request_id = message.request_id(),
      .job_id = message.job_id(),
      .generation = message.generation(),
      .worker_index = message.worker_index(),
      .worker_incarnation = message.worker_incarnation(),
      .operation = message.operation(),
      .chunk = message.chunk(),
      .step = message.step(),
      .first_slot = message.first_slot(),
      .log2_size = message.log2_size(),
      .slot_count = message.slot_count(),
      .min_version = message.min_version(),
      .min_clock = message.min_clock(),
      .codec = message.codec(),
      .crc32c = message.crc32c(),
      .deadline_ms = message.deadline_ms(),
      .answer_codec = message.answer_codec(),
      .shared_payload_offset = message.shared_payload_offset(),
      .shared_payload_bytes = message.shared_payload_bytes(),
      .shared_answer_offset = message.shared_answer_offset(),
      .exact_version = message.exact_version(),
  };
  if (message.has_shared_memory()) {
    const v1::SharedMemory& memory = message.shared_memory();
    header.shared_memory = {.pid = memory.pid(), .fd = memory.fd(), .bytes = memory.bytes(), .token = memory.token()};
  }
  return header;
}

ResponseHeader HeaderOf(const v1::ParameterResponse& message) {
  return {
      .request_id = message.request_id(),
      .code = message.code(),
      .reason = message.reason(),
      .message = message.message(),
      .chunk = message.chunk(),
      .version = message.version(),
      .min_clock = message.min_clock(),
      .duplicate = message.duplicate(),
      .codec = message.codec(),
      .crc32c = message.crc32c(),
      .shared_answer_bytes = message.shared_answer_bytes(),
  };
}

void FillRandomly(Philox& random, Message& message) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    if (random.Below(3) > 0) FillField(random, *message.GetDescriptor()->field(i), message);
  }
}

std::vector<grpc::Slice> CutSlices(absl::string_view bytes, absl::Span<const size_t> sizes) {
  std::vector<grpc::Slice> slices;
  for (const size_t size : sizes) {
    const absl::string_view piece = bytes.substr(0, size);
    slices.emplace_back(piece.data(), piece.size());
    bytes.remove_prefix(piece.size());
  }
  slices.emplace_back(bytes.data(), bytes.size());
  return slices;
}

grpc::ByteBuffer CutBuffer(absl::string_view bytes, absl::Span<const size_t> sizes) {
  const std::vector<grpc::Slice> slices = CutSlices(bytes, sizes);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::vector<size_t> RandomSizes(Philox& random, size_t size) {
  std::vector<size_t> sizes(random.Below(9));
  for (size_t& piece : sizes) piece = random.Below(size / 4 + 2);
  return sizes;
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return "no buffer";
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(slice.begin(), slice.end());
  return bytes;
}

std::string BytesOf(const PayloadView& payload) {
  std::string scratch;
  return std::string(Contiguous(payload, scratch));
}

}  // namespace paramd
