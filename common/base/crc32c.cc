#include "common/base/crc32c.h"

#include <algorithm>
#include <cstddef>

#include "isa-l/crc.h"

namespace paramd {

uint32_t ExtendCrc32c(uint32_t crc, absl::string_view data) {
  constexpr size_t kMaxPiece = size_t{1} << 30;  // crc32_iscsi takes an int.
  uint32_t state = ~crc;
  while (!data.empty()) {
    const size_t size = std::min(data.size(), kMaxPiece);
    // It only reads the buffer; its prototype lacks the const.
    state =
        crc32_iscsi(reinterpret_cast<unsigned char*>(const_cast<char*>(data.data())), static_cast<int>(size), state);
    data.remove_prefix(size);
  }
  return ~state;
}

}  // namespace paramd
