#include "common/base/utf8.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace paramd {
namespace {

// The encoding of a code point as in RFC 3629, section 3, in the given number of bytes, needed or not.
std::string Encode(uint32_t point, int length) {
  if (length == 1) return std::string(1, static_cast<char>(point));
  std::string out(length, 0);
  for (int i = length - 1; i > 0; --i, point >>= 6) out[i] = static_cast<char>(0x80 | (point & 0x3F));
  out[0] = static_cast<char>((0xF00 >> length) | point);
  return out;
}

int ShortestLength(uint32_t point) { return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4; }

TEST(Utf8Test, EveryCodePointInItsShortestFormOnly) {
  for (uint32_t point = 0; point < 0x120000; ++point) {
    const bool scalar = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
    const int shortest = ShortestLength(point);
    ASSERT_EQ(IsUtf8(Encode(point, shortest)), scalar) << point;
    for (int length = shortest + 1; length <= 4; ++length) ASSERT_FALSE(IsUtf8(Encode(point, length))) << point;
  }
}

TEST(Utf8Test, Texts) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("abc \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 end"));
  EXPECT_TRUE(IsUtf8(absl::string_view("\0x", 2)));
  for (const char* text : {"\x80", "\xc3", "a\xe2\x82", "\xf0\x9f\x98", "\xc3\x28", "\xe2\x28\xa1", "\xe2\x82\x28",
                           "\xf0\x9f\x98\x28", "\xff", "\xf8\x88\x80\x80\x80", "ok\xbf"}) {
    EXPECT_FALSE(IsUtf8(text)) << testing::PrintToString(std::string(text));
  }
}

}  // namespace
}  // namespace paramd
