#include "server/service/norm_exchange.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/failpoint.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "grpcpp/alarm.h"
#include "grpcpp/client_context.h"

namespace paramd {

// One report with its attempts. Kept alive by the callbacks it waits for.
class NormExchange::Call : public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<v1::ParameterService::Stub> stub, v1::ReduceNormRequest request, absl::Duration timeout,
       Done done)
      : stub_(std::move(stub)),
        request_(std::move(request)),
        deadline_(absl::Now() + timeout),
        backoff_(RetryOptions{.total = timeout}, request_.step()),
        done_(std::move(done)) {}

  void Attempt() {
    if (const absl::Status injected = HitFailpoint(Failpoint::kServerNormSend); !injected.ok()) {
      return OnAnswer(ToGrpcStatus(injected));
    }
    auto context = std::make_shared<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(deadline_));
    {
      absl::MutexLock lock(&mutex_);
      context_ = context;
      if (cancelled_) context->TryCancel();
    }
    stub_->async()->ReduceNorm(context.get(), &request_, &response_,
                               [self = shared_from_this(), context](grpc::Status status) { self->OnAnswer(status); });
  }

  void Cancel() {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
    alarm_.Cancel();
  }

 private:
  void OnAnswer(const grpc::Status& status) {
    const absl::Duration pause = backoff_.Next();
    {
      absl::MutexLock lock(&mutex_);
      if (status.error_code() == grpc::StatusCode::UNAVAILABLE && !cancelled_ && absl::Now() + pause < deadline_) {
        alarm_.Set(absl::ToChronoTime(absl::Now() + pause), [self = shared_from_this()](bool) { self->Attempt(); });
        return;
      }
    }
    if (status.ok()) {
      done_(response_.squared_norm());
    } else {
      done_(FromGrpcStatus(status));
    }
  }

  const std::shared_ptr<v1::ParameterService::Stub> stub_;
  const v1::ReduceNormRequest request_;
  const absl::Time deadline_;
  // One attempt at a time uses these.
  Backoff backoff_;
  v1::ReduceNormResponse response_;
  const Done done_;

  absl::Mutex mutex_;
  grpc::Alarm alarm_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

NormExchange::NormExchange(NormExchangeOptions options)
    : options_(std::move(options)), stub_(v1::ParameterService::NewStub(options_.lead)) {}

NormExchange::~NormExchange() {
  absl::MutexLock lock(&mutex_);
  for (const std::weak_ptr<Call>& weak : calls_) {
    if (const std::shared_ptr<Call> call = weak.lock(); call != nullptr) call->Cancel();
  }
}

void NormExchange::Send(uint64_t step, const std::vector<v1::ChunkNorm>& norms, Done done) {
  v1::ReduceNormRequest request;
  request.set_job_id(options_.job_id);
  request.set_generation(options_.generation);
  request.set_step(step);
  request.set_server_index(options_.server_index);
  for (const v1::ChunkNorm& norm : norms) *request.add_norms() = norm;
  auto call = std::make_shared<Call>(stub_, std::move(request), options_.timeout, std::move(done));
  {
    absl::MutexLock lock(&mutex_);
    calls_.erase(
        std::remove_if(calls_.begin(), calls_.end(), [](const std::weak_ptr<Call>& weak) { return weak.expired(); }),
        calls_.end());
    calls_.push_back(call);
  }
  call->Attempt();
}

}  // namespace paramd
