#include "server/service/wire.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"

namespace paramd {

absl::StatusOr<ChunkRequest> DecodeRequest(const v1::ParameterRequest& message, absl::Time now, absl::Duration limit) {
  ChunkRequest request;
  request.key.request_id = message.request_id();
  request.generation = message.generation();
  request.worker = message.worker_index();
  request.worker_incarnation = message.worker_incarnation();
  request.chunk = message.chunk();
  request.push = message.operation() == v1::OPERATION_PUSH || message.operation() == v1::OPERATION_PUSH_PULL;
  request.pull = message.operation() == v1::OPERATION_PULL || message.operation() == v1::OPERATION_PUSH_PULL;
  request.step = message.step();
  request.subtree = {.first_slot = message.first_slot(), .log2_size = message.log2_size()};
  request.slot_count = message.slot_count();
  request.min_version = message.min_version();
  request.min_clock = message.min_clock();
  request.received = now;
  const absl::Duration asked = message.deadline_ms() > 0 ? absl::Milliseconds(message.deadline_ms()) : limit;
  request.deadline = now + std::min(asked, limit);
  request.payload = absl::string_view(message.payload().data(), message.payload().size());
  if (!request.push && !request.pull) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_OPERATION",
                     absl::StrCat("unknown operation ", message.operation()));
  }
  if (message.codec() != v1::CODEC_FP32) {
    return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                     absl::StrCat("codec ", message.codec(), " is not supported; use FP32"));
  }
  return request;
}

absl::Status CheckPayload(const v1::ParameterRequest& message) {
  if (message.operation() == v1::OPERATION_PULL) return absl::OkStatus();
  const uint32_t actual = Crc32c(absl::string_view(message.payload().data(), message.payload().size()));
  if (actual == message.crc32c()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
                   absl::StrFormat("payload of %d bytes for chunk %d has CRC-32C %08x, the message says %08x",
                                   message.payload().size(), message.chunk(), actual, message.crc32c()));
}

void EncodeAnswer(const Answer& answer, v1::ParameterResponse& message) {
  message.Clear();
  message.set_request_id(answer.key.request_id);
  message.set_chunk(answer.chunk);
  message.set_version(answer.version);
  message.set_min_clock(answer.min_clock);
  message.set_duplicate(answer.duplicate);
  if (!answer.status.ok()) {
    message.set_code(static_cast<int32_t>(answer.status.code()));
    message.set_reason(ErrorReason(answer.status));
    message.set_message(std::string(answer.status.message()));
    return;
  }
  if (answer.snapshot == nullptr) return;
  const absl::string_view payload = answer.snapshot->payload();
  message.set_version(answer.snapshot->version());
  message.set_codec(v1::CODEC_FP32);
  message.set_crc32c(answer.snapshot->crc32c());
  message.set_payload(payload.data(), payload.size());
}

void EncodeSnapshot(uint32_t chunk, const Snapshot& snapshot, v1::FetchChunksResponse& message) {
  message.set_chunk(chunk);
  message.set_version(snapshot.version());
  message.set_crc32c(snapshot.crc32c());
  message.set_payload(snapshot.payload().data(), snapshot.payload().size());
}

}  // namespace paramd
