#include "server/store/snapshot.h"

#include "common/base/crc32c.h"
#include "common/tensor/codec_half.h"

namespace paramd {

absl::string_view Snapshot::payload(v1::Codec codec) const {
  const absl::Span<const float> values = weights();
  if (codec != v1::CODEC_BF16) {
    return absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  absl::call_once(bf16_once_, [this, values] {
    if (bf16_.size() > 0) return;
    bf16_ = weights_.TakeAnother(Bf16Floats(static_cast<int64_t>(values.size())));
    EncodeBf16(values, absl::MakeSpan(reinterpret_cast<uint16_t*>(bf16_.data()), values.size()));
  });
  return absl::string_view(reinterpret_cast<const char*>(bf16_.data()), values.size() * sizeof(uint16_t));
}

uint32_t Snapshot::crc32c(v1::Codec codec) const {
  Checksum& checksum = codec == v1::CODEC_BF16 ? bf16_checksum_ : fp32_checksum_;
  absl::call_once(checksum.once, [&] { checksum.value = Crc32c(payload(codec)); });
  return checksum.value;
}

}  // namespace paramd
