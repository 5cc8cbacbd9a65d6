#include "server/service/exchange_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "server/service/wire.h"

namespace paramd {

std::shared_ptr<ExchangeStream> ExchangeStream::Create(uint64_t number, RequestRouter& router) {
  std::shared_ptr<ExchangeStream> stream(new ExchangeStream(number, router));
  stream->self_ = stream;
  return stream;
}

void ExchangeStream::Read() {
  incoming_ = std::make_shared<v1::ParameterRequest>();
  StartRead(incoming_.get());
}

void ExchangeStream::OnReadDone(bool ok) {
  if (!ok) {
    {
      absl::MutexLock lock(&mutex_);
      reads_done_ = true;
    }
    Advance();
    return;
  }
  if (Accept()) Read();
}

bool ExchangeStream::Accept() {
  const uint64_t id = incoming_->request_id();
  absl::Status refused;
  {
    absl::MutexLock lock(&mutex_);
    if (broken_) return false;
    if (open_.size() >= kMaxOpenRequests) {
      refused = MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_REQUESTS",
                          absl::StrCat(open_.size(), " requests are open on the stream"));
    } else if (!open_.insert(id).second) {
      refused = MakeError(absl::StatusCode::kInvalidArgument, "DUPLICATE_REQUEST_ID",
                          absl::StrCat("request id ", id, " is open already"));
    }
    if (!refused.ok()) {
      outgoing_.push_back({.key = {.stream = number_, .request_id = id}, .status = refused});
    }
  }
  if (refused.ok()) return router_.Route(shared_from_this(), incoming_);
  Advance();
  return true;
}

void ExchangeStream::Resume() {
  {
    absl::MutexLock lock(&mutex_);
    if (broken_) return;
  }
  if (router_.Route(shared_from_this(), incoming_)) Read();
}

void ExchangeStream::Deliver(Answer answer) {
  {
    absl::MutexLock lock(&mutex_);
    if (broken_ || open_.erase(answer.key.request_id) == 0) return;
    outgoing_.push_back(std::move(answer));
  }
  Advance();
}

void ExchangeStream::Advance() {
  Answer answer;
  bool finish = false, cancelled = false;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    if (broken_ || (reads_done_ && open_.empty() && outgoing_.empty())) {
      finish = finished_ = true;
      cancelled = broken_;
    } else if (outgoing_.empty()) {
      return;
    } else {
      answer = std::move(outgoing_.front());
      outgoing_.pop_front();
      writing_ = true;
    }
  }
  if (finish) {
    Finish(cancelled ? grpc::Status::CANCELLED : grpc::Status::OK);
    return;
  }
  EncodeAnswer(answer, outgoing_message_);
  absl::MutexLock lock(&mutex_);  // Hands the message to the thread that encodes the next one.
  StartWrite(&outgoing_message_);
}

void ExchangeStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) broken_ = true;
  }
  Advance();
}

void ExchangeStream::OnCancel() {
  {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
    outgoing_.clear();
  }
  Advance();
}

void ExchangeStream::OnDone() {
  router_.OnStreamGone(number_);
  const std::shared_ptr<ExchangeStream> self = std::move(self_);  // May be the last reference.
}

}  // namespace paramd
