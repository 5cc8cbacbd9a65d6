// Reads the primitives of the protobuf wire format out of a received grpc::ByteBuffer, wherever its slices are cut.
//
//   WireReader in(buffer);
//   WireTag tag;
//   while (!in.AtEnd()) {
//     if (!in.ReadTag(tag)) break;
//     if (tag.field != 1 || !in.Expect(tag, WireType::kVarint) || !in.ReadVarint(id)) break;
//   }
//   if (in.fault() != nullptr) ...
//
// Every Read returns false when the bytes are not what is asked for, and from then on; fault() says why. Nothing is
// read beyond the message or allocated. Borrows the buffer. Not thread safe.
#ifndef PARAMD_COMMON_RPC_WIRE_READER_H_
#define PARAMD_COMMON_RPC_WIRE_READER_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace paramd {

// https://protobuf.dev/programming-guides/encoding/
enum class WireType : uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kLength = 2,
  kGroupBegin = 3,  // Groups are not read.
  kGroupEnd = 4,
  kFixed32 = 5,
};

struct WireTag {
  uint32_t field = 0;
  WireType type = WireType::kVarint;
};

class WireReader {
 public:
  // An invalid buffer is an empty message.
  explicit WireReader(grpc::ByteBuffer& buffer);

  // Of the message, or of the part entered last.
  bool AtEnd() const { return remaining_ == 0; }
  size_t remaining() const { return remaining_; }
  // Bytes read so far.
  size_t position() const { return total_ - remaining_ - outside_; }

  // Null while all is well; otherwise a phrase for people, a literal.
  const char* fault() const { return fault_; }
  // Declares the message bad; always false.
  bool Fail(const char* fault);

  bool ReadTag(WireTag& tag);
  bool Expect(const WireTag& tag, WireType type) { return tag.type == type || Fail("unexpected wire type"); }

  // What does not fit 64 bits is lost, as in generated code.
  bool ReadVarint(uint64_t& value);
  bool ReadFixed32(uint32_t& value);
  // A length, not more than what remains.
  bool ReadLength(size_t& length);
  // Hands out `size` bytes, at most what remains, piece by piece: bool sink(absl::string_view), false: it has failed.
  // The pieces point into the buffer and stay valid as long as it does.
  template <typename Sink>
  bool ReadBytes(size_t size, Sink sink);
  // Leaves out the value of an unknown field.
  bool Skip(WireType type);

  // Makes the next `size` bytes, at most what remains, all there is, until Leave() with what Enter returned. Everything
  // in between must have been read.
  size_t Enter(size_t size);
  void Leave(size_t outside);

 private:
  bool ReadByte(uint8_t& byte);
  bool ReadVarint(uint64_t& value, int max_bytes, const char* fault);
  bool ReadLongVarint(uint64_t& value, int max_bytes, const char* fault);
  bool Refill();

  grpc::ProtoBufferReader slices_;
  absl::string_view piece_;  // What is left of the current slice.
  const size_t total_;
  size_t remaining_;
  size_t outside_ = 0;  // Bytes after the part that was entered.
  const char* fault_ = nullptr;
};

template <typename Sink>
bool WireReader::ReadBytes(size_t size, Sink sink) {
  while (size > 0) {
    if (piece_.empty() && !Refill()) return false;
    const absl::string_view taken = piece_.substr(0, size);
    piece_.remove_prefix(taken.size());
    remaining_ -= taken.size();
    size -= taken.size();
    if (!sink(taken)) return false;
  }
  return true;
}

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_WIRE_READER_H_
