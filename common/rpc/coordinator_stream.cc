#include "common/rpc/coordinator_stream.h"

#include <utility>

#include "common/rpc/call.h"
#include "common/rpc/error_status.h"

namespace paramd {

std::shared_ptr<CoordinatorStream> CoordinatorStream::Open(v1::ClusterService::Stub& stub, Receiver receiver) {
  std::shared_ptr<CoordinatorStream> stream(new CoordinatorStream(std::move(receiver)));
  stream->self_ = stream;
  // No deadline: the stream lives as long as the daemon. The lease bounds how long a dead one goes unnoticed.
  PrepareCall({.timeout = absl::InfiniteDuration()}, stream->context_);
  stub.async()->Session(&stream->context_, stream.get());
  stream->AddHold();  // Operations start outside reactions; removed by Close.
  absl::MutexLock lock(&stream->mutex_);
  stream->reading_ = true;
  stream->StartRead(&stream->incoming_);
  stream->StartCall();
  return stream;
}

void CoordinatorStream::Send(v1::DaemonMessage message) {
  absl::MutexLock lock(&mutex_);
  if (closed_ || close_writes_) return;
  outgoing_.push_back(std::move(message));
  WriteNext();
}

size_t CoordinatorStream::queued() const {
  absl::MutexLock lock(&mutex_);
  return outgoing_.size();
}

void CoordinatorStream::WriteNext() {
  if (writing_ || closed_) return;
  if (!outgoing_.empty()) {
    writing_ = true;
    StartWrite(&outgoing_.front());
  } else if (close_writes_) {
    writing_ = true;  // For good: nothing may be written after it.
    StartWritesDone();
  }
}

void CoordinatorStream::ReadNext() {
  absl::MutexLock lock(&mutex_);
  if (closed_ || reading_) return;
  reading_ = true;
  StartRead(&incoming_);
}

void CoordinatorStream::CloseWrites() {
  absl::MutexLock lock(&mutex_);
  if (close_writes_) return;
  close_writes_ = true;
  WriteNext();
}

void CoordinatorStream::Cancel() {
  context_.TryCancel();
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (!reading_) Close();  // Else the end of the read in flight closes.
}

void CoordinatorStream::Close() {
  if (closed_) return;
  closed_ = true;
  RemoveHold();
}

void CoordinatorStream::OnReadDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (!ok || cancelled_) {
      Close();
      return;
    }
  }
  receiver_({.message = std::move(incoming_)});
}

void CoordinatorStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  outgoing_.pop_front();
  if (ok) WriteNext();  // Else the stream is broken: the read in flight fails, too.
}

void CoordinatorStream::OnDone(const grpc::Status& status) {
  std::shared_ptr<CoordinatorStream> self = std::move(self_);  // May be the last reference.
  const Receiver receiver = receiver_;
  const absl::Status result = FromGrpcStatus(status);
  // The call's context holds the channel, whose last reference must not be dropped on one of gRPC's own threads: let go
  // before the receiver, who owns the channel, learns of the end.
  self.reset();
  receiver({.done = true, .status = result});
}

}  // namespace paramd
