// CRC-32C (Castagnoli; reflected, initial value and final xor 0xffffffff), hardware accelerated.
//
//   uint32_t crc = Crc32c(payload);
//   uint32_t same = ExtendCrc32c(Crc32c(head), tail);
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_BASE_CRC32C_H_
#define PARAMD_COMMON_BASE_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace paramd {

// The CRC of A + `data`, given the CRC of A (0 for an empty A).
uint32_t ExtendCrc32c(uint32_t crc, absl::string_view data);

// "123456789" gives 0xE3069283.
inline uint32_t Crc32c(absl::string_view data) { return ExtendCrc32c(0, data); }

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_CRC32C_H_
