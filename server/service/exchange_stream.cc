#include "server/service/exchange_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "common/rpc/error_status.h"
#include "server/service/wire.h"

namespace paramd {

void OpenRequest::Deliver(Answer delivered) { stream->Deliver(*this, std::move(delivered)); }

void InboundSlot::Release() {
  job.reset();
  const std::shared_ptr<RequestOrigin> keeps_stream = std::move(request.key.origin);
  stream->Consumed(*this);
}

std::shared_ptr<ExchangeStream> ExchangeStream::Create(const ExchangeStreamOptions& options, RequestRouter& router,
                                                       ServerMetrics& metrics) {
  std::shared_ptr<ExchangeStream> stream(new ExchangeStream(options, router, metrics));
  stream->self_ = stream;
  return stream;
}

void ExchangeStream::Read() {
  switch (gate_.Next()) {
    case ReadGate::Verdict::kRead:
      reading_ = &slots_.Take();
      read_baton_.store(0, std::memory_order_release);
      StartRead(&reading_->message.buffer);
      return;
    case ReadGate::Verdict::kPause:
      return;
    case ReadGate::Verdict::kEnd:
      EndReading();
  }
}

void ExchangeStream::EndReading() {
  reader_ended_.store(true, std::memory_order_release);
  if (answers_.Push(end_mark_)) Advance();
}

void ExchangeStream::OnReadDone(bool ok) {
  read_baton_.load(std::memory_order_acquire);
  if (!ok) return EndReading();
  InboundSlot& slot = *reading_;
  slot.bytes = static_cast<int64_t>(slot.message.buffer.Length());
  refusal_ = DecodeRequest(slot.message);
  if (refusal_.ok()) refusal_ = HitFailpoint(Failpoint::kServerReceive);
  if (!refusal_.ok()) {  // Not even an id to answer to.
    broken_ = true;
    return EndReading();
  }
  Accept(slot);
  Read();
}

void ExchangeStream::Accept(InboundSlot& slot) {
  const RequestHeader& header = slot.message.header;
  gate_.Accept(slot.bytes);
  OpenRequest& open = open_requests_.Take();
  open.stream = this;
  open.request_id = header.request_id;
  open.push = header.shared_payload_offset != 0 ? Transport::kSharedMemory : options_.transport;
  open.pull = header.shared_answer_offset != 0 ? Transport::kSharedMemory : options_.transport;
  if (UsesSharedMemory(header)) open.attachment = reader_state_.attachment;
  slot.stream = this;
  slot.request.key = {.stream = options_.number,
                      .request_id = header.request_id,
                      .origin = std::shared_ptr<RequestOrigin>(shared_from_this(), &open)};
  const bool attach = header.operation == v1::OPERATION_ATTACH;
  absl::Status status = attach ? Attach(header) : router_.Route(slot);
  if (!attach && status.ok()) return;  // The slot is the owner thread's, or free already.
  Deliver(open, {.status = std::move(status), .chunk = header.chunk});
  slot.Release();
}

absl::Status ExchangeStream::Attach(const RequestHeader& header) {
  if (!header.shared_memory.has_value()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_OPERATION", "ATTACH names no memory");
  }
  if (options_.transport != Transport::kUnix || !options_.shared_memory) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE",
                     options_.shared_memory ? "memory is shared on streams over a unix socket only"
                                            : "this server shares no memory");
  }
  if (reader_state_.attachment != nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "ALREADY_ATTACHED",
                     absl::StrCat("memory of ", reader_state_.attachment->segment().bytes(),
                                  " bytes is attached to the stream already"));
  }
  ASSIGN_OR_RETURN(reader_state_.attachment, Attachment::Open(*header.shared_memory, metrics_));
  return absl::OkStatus();
}

void ExchangeStream::Consumed(InboundSlot& slot) {
  const int64_t bytes = slot.bytes;
  slot.message.Clear();
  slot.request.payload = PayloadView();
  slots_.GiveBack(slot);
  if (gate_.Consumed(bytes)) Read();
}

void ExchangeStream::Deliver(OpenRequest& open, Answer answer) {
  open.answer = std::move(answer);
  open.unsent_bytes = PayloadOf(open.answer).size();
  unsent_bytes_.fetch_add(static_cast<int64_t>(open.unsent_bytes), std::memory_order_relaxed);
  if (answers_.Push(open)) Advance();
}

void ExchangeStream::Advance() {
  do {
    if (reader_ended_.load(std::memory_order_acquire) && (broken_ || gate_.open() == 0)) {
      if (!refusal_.ok()) return Finish(ToGrpcStatus(refusal_));
      return Finish(broken_ ? grpc::Status::CANCELLED : grpc::Status::OK);
    }
    while (OpenRequest* open = answers_.Next()) {
      if (!broken_) return Write(*open);
      Close(*open);
    }
  } while (!answers_.TryIdle());
}

void ExchangeStream::Write(OpenRequest& open) {
  PassFailpoint(Failpoint::kServerAnswer);
  FillResponse(open.answer, open.request_id, options_.checksum, header_);
  const absl::string_view payload = PayloadOf(open.answer);
  if (payload.empty()) {
    EncodeResponse(header_, {}).Swap(&outgoing_);
  } else {
    const grpc::Slice slice = AliasSlice(payload, open.answer.snapshot);
    EncodeResponse(header_, absl::MakeConstSpan(&slice, 1)).Swap(&outgoing_);
  }
  writing_ = &open;
  grpc::WriteOptions options;
  if (answers_.has_more()) options.set_buffer_hint();  // Another write follows, and takes this one along.
  write_baton_.store(0, std::memory_order_release);
  StartWrite(&outgoing_, options);
}

void ExchangeStream::OnWriteDone(bool ok) {
  write_baton_.load(std::memory_order_acquire);
  PassFailpoint(Failpoint::kServerAnswered);
  Close(*std::exchange(writing_, nullptr));
  if (!ok) Break();
  Advance();
}

void ExchangeStream::Close(OpenRequest& open) {
  unsent_bytes_.fetch_sub(static_cast<int64_t>(open.unsent_bytes), std::memory_order_relaxed);
  open.answer = Answer();
  open.attachment.reset();
  open_requests_.GiveBack(open);
  if (gate_.Answered()) Read();
}

void ExchangeStream::Break() {
  if (broken_.exchange(true)) return;
  if (gate_.Close()) Read();
  if (answers_.Push(break_mark_)) Advance();
}

void ExchangeStream::OnDone() {
  router_.OnStreamGone(options_.number);
  const std::shared_ptr<ExchangeStream> self = std::move(self_);  // May be the last reference.
}

}  // namespace paramd
