#include "worker/parameter_client/codec.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"

namespace paramd {

static_assert(std::endian::native == std::endian::little, "payloads are copied as they lie in memory");

void EncodeCall(const CallerIdentity& caller, const ParameterCall& call, uint64_t request_id, uint32_t deadline_ms,
                v1::ParameterRequest& message) {
  message.Clear();
  message.set_request_id(request_id);
  message.set_job_id(caller.job_id);
  message.set_generation(caller.generation);
  message.set_worker_index(caller.worker_index);
  message.set_worker_incarnation(caller.worker_incarnation);
  message.set_chunk(static_cast<uint32_t>(call.chunk));
  message.set_codec(v1::CODEC_FP32);
  message.set_deadline_ms(deadline_ms);
  message.set_operation(!call.push ? v1::OPERATION_PULL : call.pull ? v1::OPERATION_PUSH_PULL : v1::OPERATION_PUSH);
  if (call.pull) {
    message.set_min_version(call.pull->min_version);
    message.set_min_clock(call.pull->min_clock);
  }
  if (!call.push) return;
  const PushPart& push = *call.push;
  message.set_step(push.step);
  message.set_first_slot(push.subtree.first_slot);
  message.set_log2_size(push.subtree.log2_size);
  message.set_slot_count(push.slot_count);
  message.set_payload(reinterpret_cast<const char*>(push.payload.data()), push.payload.size() * sizeof(float));
  message.set_crc32c(Crc32c(message.payload()));
}

absl::Status AnswerStatus(const v1::ParameterResponse& message) {
  if (message.code() == 0) return absl::OkStatus();
  // A code outside the enumeration is somebody else's error, not ours to trust.
  const bool known = message.code() > 0 && message.code() <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  const auto code = known ? static_cast<absl::StatusCode>(message.code()) : absl::StatusCode::kUnknown;
  return MakeError(code, message.reason(), message.message());
}

absl::Status CheckWeights(const v1::ParameterResponse& message, int64_t elements) {
  if (message.codec() != v1::CODEC_FP32) {
    return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                     absl::StrCat("weights of chunk ", message.chunk(), " came in codec ", message.codec()));
  }
  if (message.payload().size() != static_cast<size_t>(elements) * sizeof(float)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat("weights of chunk ", message.chunk(), " came in ", message.payload().size(),
                                  " bytes, expected ", elements * sizeof(float)));
  }
  const uint32_t crc = Crc32c(message.payload());
  if (crc != message.crc32c()) {
    return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
                     absl::StrFormat("weights of chunk %d have CRC-32C %08x, announced was %08x", message.chunk(), crc,
                                     message.crc32c()));
  }
  return absl::OkStatus();
}

void DecodeWeights(const std::string& payload, absl::Span<float> weights) {
  std::memcpy(weights.data(), payload.data(), weights.size() * sizeof(float));
}

}  // namespace paramd
