#include "server/service/wire.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace paramd {

namespace {

absl::Status UnsupportedCodec(v1::Codec codec, absl::string_view use) {
  return MakeError(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
                   absl::StrCat("codec ", static_cast<int>(codec), " is not supported; use ", use));
}

}  // namespace

absl::Status FillChunkRequest(const RequestHeader& header, absl::Time now, absl::Duration limit,
                              ChunkRequest& request) {
  const v1::Operation operation = header.operation;
  request.generation = header.generation;
  request.worker = header.worker_index;
  request.worker_incarnation = header.worker_incarnation;
  request.chunk = header.chunk;
  request.push = operation == v1::OPERATION_PUSH || operation == v1::OPERATION_PUSH_PULL;
  request.pull = operation == v1::OPERATION_PULL || operation == v1::OPERATION_PUSH_PULL;
  request.step = header.step;
  request.subtree = {.first_slot = header.first_slot, .log2_size = header.log2_size};
  request.slot_count = header.slot_count;
  request.min_version = header.min_version;
  request.exact_version = header.exact_version;
  request.min_clock = header.min_clock;
  request.received = now;
  const absl::Duration asked = header.deadline_ms > 0 ? absl::Milliseconds(header.deadline_ms) : limit;
  request.deadline = now + std::min(asked, limit);
  request.codec = header.codec;
  request.answer_codec = header.answer_codec == v1::CODEC_UNSPECIFIED ? v1::CODEC_FP32 : header.answer_codec;
  if (!request.push && !request.pull) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_OPERATION",
                     absl::StrCat("unknown operation ", static_cast<int>(operation)));
  }
  if (request.push && (header.codec == v1::CODEC_UNSPECIFIED || !v1::Codec_IsValid(header.codec))) {
    return UnsupportedCodec(header.codec, "one of those the job's specification names, or FP32");
  }
  if (request.pull && request.answer_codec != v1::CODEC_FP32 && request.answer_codec != v1::CODEC_BF16) {
    return UnsupportedCodec(header.answer_codec, "FP32 or BF16 for weights");
  }
  return absl::OkStatus();
}

absl::Status CheckPayload(const RequestHeader& header, const PayloadView& payload) {
  if (header.crc32c == 0 || header.operation == v1::OPERATION_PULL) return absl::OkStatus();
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kServerChecksum));
  const uint32_t actual = Crc32c(payload);
  if (actual == header.crc32c) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
                   absl::StrFormat("payload of %d bytes for chunk %d has CRC-32C %08x, the message says %08x",
                                   payload.size(), header.chunk, actual, header.crc32c));
}

absl::string_view PayloadOf(const Answer& answer) {
  if (!answer.status.ok() || answer.snapshot == nullptr || answer.shared_answer_bytes > 0) return {};
  return answer.snapshot->payload(answer.answer_codec);
}

void FillResponse(const Answer& answer, uint64_t request_id, bool checksum, ResponseHeader& header) {
  header.request_id = request_id;
  header.code = static_cast<int32_t>(answer.status.code());
  header.reason.clear();
  header.message.clear();
  header.chunk = answer.chunk;
  header.version = answer.version;
  header.min_clock = answer.min_clock;
  header.duplicate = answer.duplicate;
  header.codec = v1::CODEC_UNSPECIFIED;
  header.crc32c = 0;
  header.shared_answer_bytes = 0;
  if (!answer.status.ok()) {
    header.reason = ErrorReason(answer.status);
    header.message = std::string(answer.status.message());
    return;
  }
  if (answer.snapshot == nullptr) return;
  header.version = answer.snapshot->version();
  header.codec = answer.answer_codec;
  header.shared_answer_bytes = answer.shared_answer_bytes;
  if (checksum && answer.shared_answer_bytes == 0) header.crc32c = answer.snapshot->crc32c(answer.answer_codec);
}

void EncodeSnapshot(uint32_t chunk, const Snapshot& snapshot, v1::FetchChunksResponse& message) {
  message.set_chunk(chunk);
  message.set_version(snapshot.version());
  message.set_crc32c(snapshot.crc32c());
  message.set_payload(snapshot.payload().data(), snapshot.payload().size());
}

}  // namespace paramd
