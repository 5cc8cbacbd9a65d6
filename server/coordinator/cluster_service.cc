#include "server/coordinator/cluster_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/rpc/error_status.h"

namespace paramd {

SessionReactor::SessionReactor(const CoordinatorGate& gate, std::shared_ptr<Coordinator> coordinator)
    : gate_(gate), coordinator_(std::move(coordinator)) {
  StartRead(&message_);  // Before OpenSession, which may finish the call.
  coordinator_->OpenSession(this);
}

void SessionReactor::Send(const v1::CoordinatorMessage& message) {
  absl::MutexLock lock(&mutex_);
  if (closed_) return;
  if (queue_.size() >= kMaxQueued) {
    queue_.resize(1);  // Keeps the one being written.
    return CloseLocked(MakeError(absl::StatusCode::kResourceExhausted, "SESSION_TOO_SLOW",
                                 absl::StrCat("the daemon does not read: ", kMaxQueued, " messages wait")));
  }
  queue_.push_back(message);
  Advance();
}

void SessionReactor::Close(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  CloseLocked(status);
}

void SessionReactor::CloseLocked(const absl::Status& status) {
  if (closed_) return;
  closed_ = true;
  status_ = status;
  Advance();
}

void SessionReactor::Advance() {
  if (writing_ || finished_) return;
  if (!queue_.empty()) {
    writing_ = true;
    StartWrite(&queue_.front());
  } else if (closed_) {
    finished_ = true;
    Finish(ToGrpcStatus(status_));
  }
}

void SessionReactor::OnReadDone(bool ok) {
  if (!ok) {  // Half-closed, cancelled, or finished by us.
    coordinator_->CloseSession(this);
    return Close(absl::OkStatus());
  }
  if (const absl::Status deposed = gate_.Admits(*coordinator_); !deposed.ok()) {
    coordinator_->CloseSession(this);
    return Close(deposed);
  }
  coordinator_->OnDaemonMessage(this, message_);
  absl::MutexLock lock(&mutex_);
  if (!finished_) StartRead(&message_);
}

void SessionReactor::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  queue_.pop_front();
  if (!ok) {  // The daemon is gone.
    queue_.clear();
    CloseLocked(absl::CancelledError("the daemon closed the session"));
  }
  Advance();
}

void SessionReactor::OnCancel() {
  coordinator_->CloseSession(this);
  Close(absl::CancelledError("the session was cancelled"));
}

void SessionReactor::OnDone() {
  coordinator_->CloseSession(this);
  delete this;
}

RefusedSession::RefusedSession(const absl::Status& why) { Finish(ToGrpcStatus(why)); }

grpc::ServerBidiReactor<v1::DaemonMessage, v1::CoordinatorMessage>* ClusterService::Session(
    grpc::CallbackServerContext*) {
  absl::StatusOr<std::shared_ptr<Coordinator>> coordinator = gate_.Get();
  if (!coordinator.ok()) return new RefusedSession(coordinator.status());  // Both delete themselves.
  return new SessionReactor(gate_, *std::move(coordinator));
}

grpc::ServerUnaryReactor* ClusterService::ListNodes(grpc::CallbackServerContext* context, const v1::ListNodesRequest*,
                                                    v1::ListNodesResponse* response) {
  const absl::StatusOr<std::shared_ptr<Coordinator>> coordinator = gate_.Get();
  if (coordinator.ok()) *response = (*coordinator)->ListNodes();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(coordinator.status()));
  return reactor;
}

}  // namespace paramd
