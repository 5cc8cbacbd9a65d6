#include "worker/infer/utf8_assembler.h"

#include <utility>

namespace paramd {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

}  // namespace

std::string Utf8Assembler::Add(uint8_t byte) {
  std::string out;
  if (missing_ > 0) {
    if (byte >= low_ && byte <= high_) {
      pending_.push_back(static_cast<char>(byte));
      low_ = 0x80;
      high_ = 0xBF;
      if (--missing_ == 0) out = std::exchange(pending_, "");
      return out;
    }
    out = Finish();  // The character breaks off; the byte may start the next one.
  }
  // Table 3-7 of the standard: lead bytes and the range of the byte after them.
  if (byte < 0x80) return out + static_cast<char>(byte);
  if (byte >= 0xC2 && byte <= 0xDF) {
    missing_ = 1;
  } else if (byte >= 0xE0 && byte <= 0xEF) {
    missing_ = 2;
    low_ = byte == 0xE0 ? 0xA0 : 0x80;   // No overlong forms.
    high_ = byte == 0xED ? 0x9F : 0xBF;  // No surrogates.
  } else if (byte >= 0xF0 && byte <= 0xF4) {
    missing_ = 3;
    low_ = byte == 0xF0 ? 0x90 : 0x80;
    high_ = byte == 0xF4 ? 0x8F : 0xBF;  // Nothing above U+10FFFF.
  } else {
    return out + kReplacement;
  }
  pending_.push_back(static_cast<char>(byte));
  return out;
}

std::string Utf8Assembler::Finish() {
  const bool unfinished = missing_ > 0;
  pending_.clear();
  missing_ = 0;
  low_ = 0x80;
  high_ = 0xBF;
  return unfinished ? kReplacement : "";
}

}  // namespace paramd
