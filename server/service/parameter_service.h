// paramd.v1.ParameterService: the thin edge between gRPC and the jobs held here.
//
//   ParameterService service(clock, request_timeout);
//   ... build OwnerThreads and Jobs with service as their AnswerSink ...
//   service.Attach(jobs, threads);
//   runner.AddService(&service, "paramd.v1.ParameterService");
//
// Each message is decoded and checked here, on gRPC's threads, and handed to the owner thread of its chunk. Thread safe
// after Attach; nothing here blocks. Must outlive the gRPC server and the jobs.
#ifndef PARAMD_SERVER_SERVICE_PARAMETER_SERVICE_H_
#define PARAMD_SERVER_SERVICE_PARAMETER_SERVICE_H_

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "proto/parameter.grpc.pb.h"
#include "server/service/exchange_stream.h"
#include "server/service/jobs.h"
#include "server/service/owner_threads.h"

namespace paramd {

class ParameterService final : public v1::ParameterService::CallbackService, public AnswerSink, private RequestRouter {
 public:
  // `request_timeout` bounds how long a pull may wait.
  ParameterService(const Clock& clock, absl::Duration request_timeout)
      : clock_(clock), request_timeout_(request_timeout) {}

  // Once, before any call. Both must outlive the service's calls.
  void Attach(Jobs& jobs, OwnerThreads& threads) {
    jobs_ = &jobs;
    threads_ = &threads;
  }

  grpc::ServerBidiReactor<v1::ParameterRequest, v1::ParameterResponse>* Exchange(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ReduceNorm(grpc::CallbackServerContext* context, const v1::ReduceNormRequest* request,
                                       v1::ReduceNormResponse* response) override;
  grpc::ServerWriteReactor<v1::FetchChunksResponse>* FetchChunks(grpc::CallbackServerContext* context,
                                                                 const v1::FetchChunksRequest* request) override;

  // AnswerSink.
  void Deliver(Answer answer) override;

 private:
  bool Route(const std::shared_ptr<ExchangeStream>& stream,
             const std::shared_ptr<const v1::ParameterRequest>& message) override;
  void OnStreamGone(uint64_t stream) override;
  // The job of a message. kNotFound JOB_NOT_FOUND; kUnavailable JOB_NOT_READY while it is being prepared.
  absl::StatusOr<std::shared_ptr<ServerJob>> FindJob(const std::string& job_id) const;
  // Queues the request; false when there is no room.
  absl::StatusOr<bool> Enqueue(const std::shared_ptr<ExchangeStream>& stream,
                               const std::shared_ptr<const v1::ParameterRequest>& message);

  const Clock& clock_;
  const absl::Duration request_timeout_;
  Jobs* jobs_ = nullptr;             // Constant after Attach.
  OwnerThreads* threads_ = nullptr;  // Constant after Attach.

  absl::Mutex mutex_;
  uint64_t next_stream_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::weak_ptr<ExchangeStream>> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_PARAMETER_SERVICE_H_
