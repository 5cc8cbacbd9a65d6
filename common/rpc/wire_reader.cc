#include "common/rpc/wire_reader.h"

namespace paramd {
namespace {

constexpr int kVarintBytes = 10;  // Of 64 bits, 7 at a time.
constexpr int kTagBytes = 5;      // Of 32.
constexpr char kBadNumber[] = "field number out of range";
constexpr uint32_t kMaxFixedType = static_cast<uint32_t>(WireType::kFixed32);

}  // namespace

WireReader::WireReader(grpc::ByteBuffer& buffer) : slices_(&buffer), total_(buffer.Length()), remaining_(total_) {}

bool WireReader::Fail(const char* fault) {
  if (fault_ == nullptr) fault_ = fault;
  return false;
}

bool WireReader::Refill() {
  const void* data;
  int size;
  do {
    if (!slices_.Next(&data, &size)) return Fail("slices end before the message");
  } while (size == 0);
  piece_ = absl::string_view(static_cast<const char*>(data), static_cast<size_t>(size));
  return true;
}

inline bool WireReader::ReadByte(uint8_t& byte) {
  if (remaining_ == 0) return Fail("truncated");
  if (piece_.empty() && !Refill()) return false;
  byte = static_cast<uint8_t>(piece_.front());
  piece_.remove_prefix(1);
  --remaining_;
  return true;
}

inline bool WireReader::ReadVarint(uint64_t& value, int max_bytes, const char* fault) {
  if (!piece_.empty() && remaining_ > 0 && static_cast<uint8_t>(piece_.front()) < 0x80) {  // Most of them.
    value = static_cast<uint8_t>(piece_.front());
    piece_.remove_prefix(1);
    --remaining_;
    return true;
  }
  return ReadLongVarint(value, max_bytes, fault);
}

bool WireReader::ReadLongVarint(uint64_t& value, int max_bytes, const char* fault) {
  value = 0;
  for (int i = 0; i < max_bytes; ++i) {
    uint8_t byte = 0;
    if (!ReadByte(byte)) return false;
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) return true;
  }
  return Fail(fault);
}

bool WireReader::ReadVarint(uint64_t& value) { return ReadVarint(value, kVarintBytes, "varint of more than 10 bytes"); }

bool WireReader::ReadTag(WireTag& tag) {
  uint64_t value;
  if (!ReadVarint(value, kTagBytes, kBadNumber)) return false;
  const uint32_t type = value & 7;
  if (value > UINT32_MAX || value < 8) return Fail(kBadNumber);
  if (type > kMaxFixedType) return Fail("unknown wire type");
  tag = {.field = static_cast<uint32_t>(value >> 3), .type = static_cast<WireType>(type)};
  return true;
}

bool WireReader::ReadFixed32(uint32_t& value) {
  value = 0;
  for (int i = 0; i < 4; ++i) {
    uint8_t byte = 0;
    if (!ReadByte(byte)) return false;
    value |= static_cast<uint32_t>(byte) << (8 * i);
  }
  return true;
}

bool WireReader::ReadLength(size_t& length) {
  uint64_t value;
  if (!ReadVarint(value)) return false;
  if (value > remaining_) return Fail("longer than what is left of the message");
  length = static_cast<size_t>(value);
  return true;
}

bool WireReader::Skip(WireType type) {
  const auto ignore = [](absl::string_view) { return true; };
  uint64_t value;
  size_t size = 0;
  switch (type) {
    case WireType::kVarint:
      return ReadVarint(value);
    case WireType::kLength:
      return ReadLength(size) && ReadBytes(size, ignore);
    case WireType::kFixed32:
      size = 4;
      break;
    case WireType::kFixed64:
      size = 8;
      break;
    case WireType::kGroupBegin:
    case WireType::kGroupEnd:
      return Fail("groups are not supported");
  }
  return size <= remaining_ ? ReadBytes(size, ignore) : Fail("truncated");
}

size_t WireReader::Enter(size_t size) {
  const size_t outside = remaining_ - size;
  remaining_ = size;
  outside_ += outside;
  return outside;
}

void WireReader::Leave(size_t outside) {
  remaining_ += outside;
  outside_ -= outside;
}

}  // namespace paramd
