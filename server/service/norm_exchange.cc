#include "server/service/norm_exchange.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "grpcpp/alarm.h"
#include "grpcpp/client_context.h"

namespace paramd {

// One report with its attempts. Kept alive by the callbacks it waits for.
class NormExchange::Call : public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<v1::ParameterService::Stub> stub, v1::ReduceNormRequest request,
       const NormExchangeOptions& options, Done done)
      : stub_(std::move(stub)),
        request_(std::move(request)),
        timeout_(options.timeout),
        lease_(options.lease),
        done_(std::move(done)),
        deadline_(absl::Now() + timeout_),
        backoff_(RetryOptions{.total = timeout_}, request_.step()) {}

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
    if (status.ok()) return done_(response_.squared_norm());
    const absl::Status failure = FromGrpcStatus(status);
    const absl::Time next = absl::Now() + backoff_.Next();
    {
      absl::MutexLock lock(&mutex_);
      if (MayRepeat(failure, next)) {
        alarm_.Set(absl::ToChronoTime(next), [self = shared_from_this()](bool) { self->Attempt(); });
        return;
      }
    }
    done_(failure);
  }

  // Asks for the lease under the mutex: what its function refers to may be gone after Cancel.
  bool MayRepeat(const absl::Status& failure, absl::Time next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (cancelled_) return false;
    if (ErrorReason(failure) == "LEASE_LOST" || (lease_ && lease_() == Lease::kLost)) {
      deadline_ = next + timeout_;
      return true;
    }
    return absl::IsUnavailable(failure) && next < deadline_;
  }

  const std::shared_ptr<v1::ParameterService::Stub> stub_;
  const v1::ReduceNormRequest request_;
  const absl::Duration timeout_;
  const std::function<Lease()> lease_;
  const Done done_;
  // One attempt at a time uses these.
  absl::Time deadline_;
  Backoff backoff_;
  v1::ReduceNormResponse response_;

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
  auto call = std::make_shared<Call>(stub_, std::move(request), options_, std::move(done));
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
