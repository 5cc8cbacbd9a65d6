#include "common/base/utf8.h"

#include <cstddef>
#include <cstdint>

namespace paramd {
namespace {

// What the first byte of a character says: its length, and the range of its second byte (RFC 3629, section 4; the
// narrow ranges keep out overlong forms, surrogates and what is above U+10FFFF). Length 0: no character starts so.
struct FirstByte {
  size_t length;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

FirstByte Classify(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const FirstByte first = Classify(static_cast<uint8_t>(text[0]));
    if (first.length == 0 || first.length > text.size()) return false;
    for (size_t i = 1; i < first.length; ++i) {
      const uint8_t byte = static_cast<uint8_t>(text[i]);
      if (byte < (i == 1 ? first.low : 0x80) || byte > (i == 1 ? first.high : 0xBF)) return false;
    }
    text.remove_prefix(first.length);
  }
  return true;
}

}  // namespace paramd
