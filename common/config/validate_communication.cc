#include "common/config/validate_communication.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/enum_names.h"

namespace paramd {
namespace {

std::string NameOf(v1::Codec codec) {
  const auto* value = v1::Codec_descriptor()->FindValueByNumber(codec);
  return value == nullptr ? absl::StrCat(static_cast<int>(codec)) : ShortName(*value);
}

}  // namespace

void ValidatePushCodec(v1::Codec codec, absl::string_view path, Violations& violations) {
  if (codec >= v1::CODEC_FP32 && codec <= v1::CODEC_ONEBIT) return;
  violations.Add(path, absl::StrCat("must be one of fp32, bf16, fp16, int8, topk, onebit; got ", NameOf(codec)));
}

void ValidateCommunication(const v1::CommunicationSpec& communication, Violations& violations) {
  ValidatePushCodec(communication.push_codec(), "spec.communication.push_codec", violations);
  const v1::Codec pull = communication.pull_codec();
  if (pull != v1::CODEC_FP32 && pull != v1::CODEC_BF16) {
    violations.Add("spec.communication.pull_codec", absl::StrCat("must be one of fp32, bf16; got ", NameOf(pull)));
  }
  const double ratio = communication.topk_ratio();
  if (!(ratio > 0 && ratio <= 1)) {
    violations.Add("spec.communication.topk_ratio", absl::StrCat("must be in (0, 1], got ", ratio));
  }
}

}  // namespace paramd
