// Whether bytes are UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. Protobuf's `string`
// fields must be.
//
//   if (!IsUtf8(name)) return MakeError(...);
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_BASE_UTF8_H_
#define PARAMD_COMMON_BASE_UTF8_H_

#include "absl/strings/string_view.h"

namespace paramd {

bool IsUtf8(absl::string_view text);

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_UTF8_H_
