#include "worker/infer/utf8_assembler.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

const std::string kBad = "\xEF\xBF\xBD";

std::string Assemble(const std::string& bytes) {
  Utf8Assembler assembler;
  std::string out;
  for (char byte : bytes) out += assembler.Add(static_cast<uint8_t>(byte));
  return out + assembler.Finish();
}

TEST(Utf8AssemblerTest, PassesValidText) {
  const std::string text = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z\x7F";
  EXPECT_EQ(Assemble(text), text);
}

TEST(Utf8AssemblerTest, PiecesAreWholeCharacters) {
  Utf8Assembler assembler;
  EXPECT_EQ(assembler.Add(0xE2), "");
  EXPECT_EQ(assembler.Add(0x82), "");
  EXPECT_EQ(assembler.Add(0xAC), "\xE2\x82\xAC");
  EXPECT_EQ(assembler.Add('x'), "x");
  EXPECT_EQ(assembler.Finish(), "");
}

TEST(Utf8AssemblerTest, ReplacesMaximalInvalidParts) {
  struct Case {
    std::string bytes;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"\x80", kBad},
      {"\xC0\xAF", kBad + kBad},             // Overlong.
      {"\xE0\x80\xAF", kBad + kBad + kBad},  // Overlong.
      {"\xED\xA0\x80", kBad + kBad + kBad},  // Surrogate.
      {"\xF4\x90\x80\x80", kBad + kBad + kBad + kBad},
      {"\xF5", kBad},
      {"\xFF", kBad},
      {"\xE2\x82", kBad},                   // Breaks off at the end.
      {"\xE2\x82x", kBad + "x"},            // Breaks off before a character.
      {"\xE2\xC3\xA4", kBad + "\xC3\xA4"},  // The next lead byte counts.
      {"\xF0\x9F\x98\xC3", kBad + kBad},
  };
  for (const Case& c : cases) EXPECT_EQ(Assemble(c.bytes), c.text) << testing::PrintToString(c.bytes);
}

}  // namespace
}  // namespace paramd
