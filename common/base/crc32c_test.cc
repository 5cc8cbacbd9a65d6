#include "common/base/crc32c.h"

#include <string>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

uint32_t BitByBit(absl::string_view data) {
  uint32_t crc = 0xffffffff;
  for (const char c : data) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0);
  }
  return ~crc;
}

TEST(Crc32cTest, KnownAnswers) {  // RFC 3720, B.4, and the usual check value.
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

TEST(Crc32cTest, AgreesWithTheDefinitionAndExtends) {
  Philox random(TestSeed(), RandomStream::kTest);
  std::string data(5000, 0);
  for (char& c : data) c = static_cast<char>(random.Next32());
  for (const size_t size : {0, 1, 7, 8, 31, 63, 64, 1023, 4096, 4999}) {
    for (const size_t offset : {0, 1}) {
      const absl::string_view view = absl::string_view(data).substr(offset, size);
      ASSERT_EQ(Crc32c(view), BitByBit(view)) << size;
      const size_t cut = random.Below(view.size() + 1);
      ASSERT_EQ(ExtendCrc32c(Crc32c(view.substr(0, cut)), view.substr(cut)), Crc32c(view)) << size << " at " << cut;
    }
  }
}

}  // namespace
}  // namespace paramd
