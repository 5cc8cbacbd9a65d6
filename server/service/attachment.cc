#include "server/service/attachment.h"

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace paramd {

absl::StatusOr<std::shared_ptr<const Attachment>> Attachment::Open(const SharedMemoryName& name,
                                                                   ServerMetrics& metrics) {
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kServerAttach));
  ASSIGN_OR_RETURN(std::shared_ptr<AttachedSegment> segment,
                   AttachedSegment::Open(name.pid, name.fd, name.bytes, name.token.view()));
  return std::shared_ptr<const Attachment>(new Attachment(std::move(segment), metrics));
}

Attachment::Attachment(std::shared_ptr<AttachedSegment> segment, ServerMetrics& metrics)
    : segment_(std::move(segment)), metrics_(metrics) {
  metrics_.attached_segments().Increment();
  metrics_.attached_bytes().Increment(static_cast<double>(segment_->bytes()));
}

Attachment::~Attachment() {
  metrics_.attached_segments().Decrement();
  metrics_.attached_bytes().Decrement(static_cast<double>(segment_->bytes()));
}

absl::Status ResolveSharedMemory(const RequestHeader& header, const Attachment* attachment, int64_t elements,
                                 ChunkRequest& request) {
  if (!UsesSharedMemory(header)) return absl::OkStatus();
  if (attachment == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE",
                     "the request names shared memory, but none is attached to its stream");
  }
  if (request.push && header.shared_payload_offset != 0) {
    if (!request.payload.empty()) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID",
          absl::StrCat("a payload of ", request.payload.size(), " bytes in the message, and another in shared memory"));
    }
    ASSIGN_OR_RETURN(const absl::Span<char> payload,
                     attachment->segment().Range(header.shared_payload_offset, header.shared_payload_bytes));
    request.payload = PayloadView(absl::string_view(payload.data(), payload.size()));
  }
  if (request.pull && header.shared_answer_offset != 0) {
    // Whole floats, as the store takes it; the second half of the last may stay unused by BF16.
    const size_t floats = (AnswerBytes(request.answer_codec, elements) + sizeof(float) - 1) / sizeof(float);
    ASSIGN_OR_RETURN(const absl::Span<char> space,
                     attachment->segment().Range(header.shared_answer_offset, floats * sizeof(float)));
    // Mapped at a page, and the offset is a multiple of 4.
    request.shared_answer = absl::MakeSpan(reinterpret_cast<float*>(space.data()), floats);
  }
  return absl::OkStatus();
}

}  // namespace paramd
