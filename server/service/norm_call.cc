#include "server/service/norm_call.h"

#include <utility>

#include "common/rpc/error_status.h"

namespace paramd {

grpc::ServerUnaryReactor* NormCall::Start(absl::StatusOr<std::shared_ptr<ServerJob>> job,
                                          const v1::ReduceNormRequest& request, v1::ReduceNormResponse& response) {
  std::shared_ptr<NormCall> call(new NormCall(response));
  call->self_ = call;
  if (!job.ok()) {
    call->Answer(job.status());
    return call.get();
  }
  const absl::StatusOr<uint64_t> number =
      (*job)->ReduceNorm(request, [call](absl::StatusOr<double> total) { call->Answer(total); });
  if (!number.ok()) {
    call->Answer(number.status());
  } else {
    absl::MutexLock lock(&call->mutex_);
    call->job_ = *job;
    call->number_ = *number;
  }
  return call.get();
}

void NormCall::Answer(const absl::StatusOr<double>& total) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(answered_, true)) return;
  }
  if (total.ok()) response_.set_squared_norm(*total);
  Finish(ToGrpcStatus(total.status()));
}

void NormCall::OnDone() {
  std::shared_ptr<ServerJob> job;
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    job = job_.lock();
    number = number_;
  }
  if (job != nullptr) job->CancelTotal(number);
  const std::shared_ptr<NormCall> self = std::move(self_);  // May be the last reference.
}

}  // namespace paramd
