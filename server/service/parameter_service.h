// paramd.v1.ParameterService: the thin edge between gRPC and the jobs held here.
//
//   ParameterService service({.request_timeout = absl::Seconds(60)}, clock, metrics, jobs, threads);
//   runner.AddService(&service, "paramd.v1.ParameterService");
//
// Exchange is served raw (see ExchangeStream), the other methods by generated code. Each message is decoded and checked
// here, on gRPC's threads, and handed to the owner thread of its chunk; the answer goes back from there by itself, with
// the request's origin. Thread safe; nothing here blocks. Must outlive the gRPC server.
#ifndef PARAMD_SERVER_SERVICE_PARAMETER_SERVICE_H_
#define PARAMD_SERVER_SERVICE_PARAMETER_SERVICE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "proto/parameter.grpc.pb.h"
#include "server/service/exchange_stream.h"
#include "server/service/jobs.h"
#include "server/service/lease.h"
#include "server/service/owner_threads.h"
#include "server/service/server_metrics.h"

namespace paramd {

struct ParameterServiceOptions {
  absl::Duration request_timeout = absl::Seconds(60);  // Bounds how long a pull may wait.
  bool shared_memory = true;                           // Whether clients on this host may attach memory.
  ReadLimits limits;                                   // Of each stream.
  std::function<Lease()> lease;                        // Null: this server needs none.
};

// Exchange raw, the other methods with the generated messages.
using RawParameterService =
    v1::ParameterService::WithRawCallbackMethod_Exchange<v1::ParameterService::WithCallbackMethod_ReduceNorm<
        v1::ParameterService::WithCallbackMethod_FetchChunks<v1::ParameterService::Service>>>;

class ParameterService final : public RawParameterService, private RequestRouter {
 public:
  // All of them must outlive the service.
  ParameterService(const ParameterServiceOptions& options, const Clock& clock, ServerMetrics& metrics, Jobs& jobs,
                   OwnerThreads& threads)
      : options_(options), clock_(clock), metrics_(metrics), jobs_(jobs), threads_(threads) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Exchange(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ReduceNorm(grpc::CallbackServerContext* context, const v1::ReduceNormRequest* request,
                                       v1::ReduceNormResponse* response) override;
  grpc::ServerWriteReactor<v1::FetchChunksResponse>* FetchChunks(grpc::CallbackServerContext* context,
                                                                 const v1::FetchChunksRequest* request) override;

  // Brings the gauges of bytes in flight up to date. Returns whether there are any, so that it should be called again
  // soon.
  bool UpdateMetrics();

 private:
  // RequestRouter.
  absl::Status Route(InboundSlot& slot) override;
  void OnStreamGone(uint64_t stream) override;

  Lease CurrentLease() const { return options_.lease ? options_.lease() : Lease::kHeld; }
  // kUnavailable LEASE_LOST while the coordinator may have given this server up.
  static absl::Status CheckLease(Lease lease);
  // The job of a message. kNotFound JOB_NOT_FOUND; kUnavailable JOB_NOT_READY while it is being prepared, or while it
  // may not be here yet because this server has not registered; and as above.
  absl::StatusOr<std::shared_ptr<ServerJob>> FindJob(absl::string_view job_id) const;
  // The same, without a lock when it is the job of the stream's last message.
  absl::StatusOr<std::shared_ptr<ServerJob>> FindJob(const RequestHeader& header,
                                                     ExchangeStream::ReaderState& state) const;

  const ParameterServiceOptions options_;
  const Clock& clock_;
  ServerMetrics& metrics_;
  Jobs& jobs_;
  OwnerThreads& threads_;

  absl::Mutex mutex_;
  uint64_t next_stream_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::weak_ptr<ExchangeStream>> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_PARAMETER_SERVICE_H_
