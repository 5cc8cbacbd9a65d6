#include "common/rpc/wire_reader.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

// `bytes` as two slices, cut at `cut`.
grpc::ByteBuffer Cut(absl::string_view bytes, size_t cut) {
  const std::vector<grpc::Slice> slices = {grpc::Slice(bytes.data(), cut),
                                           grpc::Slice(bytes.data() + cut, bytes.size() - cut)};
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// The value of a varint, or the fault.
std::string Varint(absl::string_view bytes, size_t cut) {
  grpc::ByteBuffer buffer = Cut(bytes, cut);
  WireReader in(buffer);
  uint64_t value = 0;
  if (!in.ReadVarint(value)) return in.fault();
  return std::to_string(value) + " to " + std::to_string(in.position());
}

TEST(WireReaderTest, Varints) {
  const struct {
    std::string bytes, expected;
  } kCases[] = {
      {{"\x00", 1}, "0 to 1"},
      {"\x7f", "127 to 1"},
      {"\x80\x01", "128 to 2"},
      {{"\x81\x00", 2}, "1 to 2"},  // Longer than needed.
      {{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10}, "0 to 10"},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "18446744073709551615 to 10"},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "18446744073709551615 to 10"},  // Bits beyond 64.
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "varint of more than 10 bytes"},
      {"\x80", "truncated"},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff", "truncated"},
      {"", "truncated"},
  };
  for (const auto& c : kCases) {
    for (size_t cut = 0; cut <= c.bytes.size(); ++cut) {
      EXPECT_EQ(Varint(c.bytes, cut), c.expected) << testing::PrintToString(c.bytes) << " cut at " << cut;
    }
  }
}

TEST(WireReaderTest, Tags) {
  const struct {
    std::string bytes;
    const char* fault;
    uint32_t field = 0;
    WireType type = WireType::kVarint;
  } kCases[] = {
      {"\x08", nullptr, 1, WireType::kVarint},
      {"\x8a\x01", nullptr, 17, WireType::kLength},
      {"\xfd\xff\xff\xff\x0f", nullptr, (1u << 29) - 1, WireType::kFixed32},
      {"\x0b", nullptr, 1, WireType::kGroupBegin},
      {{"\x00", 1}, "field number out of range"},
      {"\x05", "field number out of range"},
      {"\x80\x80\x80\x80\x10", "field number out of range"},
      {{"\x88\x80\x80\x80\x00", 5}, nullptr, 1, WireType::kVarint},    // Longer than needed,
      {{"\x88\x80\x80\x80\x80\x00", 6}, "field number out of range"},  // and than 32 bits ever need.
      {"\x0e", "unknown wire type"},
      {"\x0f", "unknown wire type"},
      {"\x88", "truncated"},
  };
  for (const auto& c : kCases) {
    grpc::ByteBuffer buffer = Cut(c.bytes, c.bytes.size() / 2);
    WireReader in(buffer);
    WireTag tag;
    EXPECT_EQ(in.ReadTag(tag), c.fault == nullptr);
    EXPECT_STREQ(in.fault(), c.fault) << testing::PrintToString(c.bytes);
    if (c.fault != nullptr) continue;
    EXPECT_EQ(tag.field, c.field);
    EXPECT_EQ(tag.type, c.type);
  }
}

TEST(WireReaderTest, LengthsStayWithinTheMessage) {
  const std::string bytes = "\x03xyz";
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    grpc::ByteBuffer buffer = Cut(bytes, cut);
    WireReader in(buffer);
    size_t length = 0;
    ASSERT_TRUE(in.ReadLength(length));
    std::string read;
    ASSERT_TRUE(in.ReadBytes(length, [&](absl::string_view piece) {
      absl::StrAppend(&read, piece);
      return true;
    }));
    EXPECT_EQ(read, "xyz");
    EXPECT_TRUE(in.AtEnd());
  }
  for (const std::string& bad : {std::string("\x04xyz"), std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")}) {
    grpc::ByteBuffer buffer = Cut(bad, 1);
    WireReader in(buffer);
    size_t length = 0;
    EXPECT_FALSE(in.ReadLength(length));
    EXPECT_STREQ(in.fault(), "longer than what is left of the message");
  }
}

TEST(WireReaderTest, SkipsEveryTypeButGroups) {
  const struct {
    WireType type;
    std::string bytes;
    const char* fault;
  } kCases[] = {
      {WireType::kVarint, "\x80\x01", nullptr},
      {WireType::kFixed64, "12345678", nullptr},
      {WireType::kLength, "\x02zz", nullptr},
      {WireType::kFixed32, "1234", nullptr},
      {WireType::kVarint, "\x80", "truncated"},
      {WireType::kFixed64, "1234567", "truncated"},
      {WireType::kLength, "\x03zz", "longer than what is left of the message"},
      {WireType::kFixed32, "123", "truncated"},
      {WireType::kGroupBegin, "\x0c", "groups are not supported"},
      {WireType::kGroupEnd, "", "groups are not supported"},
  };
  for (const auto& c : kCases) {
    grpc::ByteBuffer buffer = Cut(c.bytes, c.bytes.size() / 2);
    WireReader in(buffer);
    EXPECT_EQ(in.Skip(c.type), c.fault == nullptr) << testing::PrintToString(c.bytes);
    EXPECT_STREQ(in.fault(), c.fault) << testing::PrintToString(c.bytes);
    EXPECT_EQ(in.AtEnd() && in.fault() == nullptr, c.fault == nullptr);
  }
}

TEST(WireReaderTest, PartsEndWhereTheyEnd) {
  grpc::ByteBuffer buffer = Cut("\x80\x01\x05", 1);
  WireReader in(buffer);
  const size_t outside = in.Enter(1);  // Cuts the first varint in two.
  EXPECT_EQ(in.remaining(), 1u);
  EXPECT_EQ(in.position(), 0u);
  uint64_t value;
  EXPECT_FALSE(in.ReadVarint(value));
  EXPECT_STREQ(in.fault(), "truncated");
  EXPECT_EQ(in.position(), 1u);
  in.Leave(outside);
  EXPECT_EQ(in.remaining(), 2u);
  EXPECT_EQ(in.position(), 1u);
}

TEST(WireReaderTest, NoBufferIsAnEmptyMessage) {
  grpc::ByteBuffer none;
  WireReader in(none);
  EXPECT_TRUE(in.AtEnd());
  WireTag tag;
  EXPECT_FALSE(in.ReadTag(tag));
}

}  // namespace
}  // namespace paramd
