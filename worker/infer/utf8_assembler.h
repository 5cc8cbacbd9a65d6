// Bytes in, valid UTF-8 out: holds back an unfinished character until its last byte comes, and replaces what is not
// UTF-8 by U+FFFD, as the Unicode Standard recommends (one per maximal invalid part, section 3.9).
//
//   Utf8Assembler text;
//   std::string piece = text.Add(0xC3);     // ""
//   piece = text.Add(0xA4);                 // "ä"
//   piece = text.Finish();                  // What is still unfinished, as U+FFFD.
//
// Not thread safe.
#ifndef PARAMD_WORKER_INFER_UTF8_ASSEMBLER_H_
#define PARAMD_WORKER_INFER_UTF8_ASSEMBLER_H_

#include <cstdint>
#include <string>

namespace paramd {

class Utf8Assembler {
 public:
  // The text that the byte completes; often empty or one character.
  std::string Add(uint8_t byte);
  std::string Finish();

 private:
  std::string pending_;  // Start of a character.
  int missing_ = 0;      // Its bytes still to come.
  uint8_t low_ = 0x80;   // Allowed range of the next byte.
  uint8_t high_ = 0xBF;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_INFER_UTF8_ASSEMBLER_H_
