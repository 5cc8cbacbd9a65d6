// paramd.v1.JobService over the engine that leads: unary calls on gRPC's synchronous threads, since they wait for the
// store; WatchJob and TraceJob on the callback API, since watches are many and both are long.
//
// Thread safe. Borrows the gate, which must outlive the server this service is registered with; the reactors keep their
// engine alive.
#ifndef PARAMD_SERVER_COORDINATOR_JOB_SERVICE_H_
#define PARAMD_SERVER_COORDINATOR_JOB_SERVICE_H_

#include <memory>

#include "grpcpp/grpcpp.h"
#include "proto/job.grpc.pb.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/coordinator_gate.h"
#include "server/coordinator/trace_collector.h"
#include "server/coordinator/watch.h"

namespace paramd {

// One WatchJob call. Deletes itself when the call is done.
class WatchReactor final : public grpc::ServerWriteReactor<v1::WatchJobResponse>, public WatchSink {
 public:
  explicit WatchReactor(std::shared_ptr<Coordinator> coordinator) : coordinator_(std::move(coordinator)) {}

  void Send(const v1::WatchJobResponse& response) override;
  void Finish(const absl::Status& status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // Null: refused before it came to an engine.
  const std::shared_ptr<Coordinator> coordinator_;
  v1::WatchJobResponse response_;  // Being written.
};

// One TraceJob call. Deletes itself when the call is done.
class TraceReactor final : public grpc::ServerUnaryReactor, public TraceSink {
 public:
  // `response` lives as long as the call.
  TraceReactor(std::shared_ptr<Coordinator> coordinator, v1::TraceJobResponse& response)
      : coordinator_(std::move(coordinator)), response_(response) {}

  void Finish(absl::StatusOr<v1::TraceJobResponse> response) override;

  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // Null: refused before it came to an engine.
  const std::shared_ptr<Coordinator> coordinator_;
  v1::TraceJobResponse& response_;
};

class JobService final : public v1::JobService::WithCallbackMethod_WatchJob<
                             v1::JobService::WithCallbackMethod_TraceJob<v1::JobService::Service>> {
 public:
  explicit JobService(const CoordinatorGate& gate) : gate_(gate) {}

  grpc::Status SubmitJob(grpc::ServerContext* context, const v1::SubmitJobRequest* request,
                         v1::SubmitJobResponse* response) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::GetJobResponse* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext* context,
                                                           const v1::WatchJobRequest* request) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::CancelJobResponse* response) override;
  grpc::Status DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse* response) override;
  grpc::ServerUnaryReactor* TraceJob(grpc::CallbackServerContext* context, const v1::TraceJobRequest* request,
                                     v1::TraceJobResponse* response) override;
  grpc::Status CreateCheckpoint(grpc::ServerContext* context, const v1::CreateCheckpointRequest* request,
                                v1::CreateCheckpointResponse* response) override;
  grpc::Status ListCheckpoints(grpc::ServerContext* context, const v1::ListCheckpointsRequest* request,
                               v1::ListCheckpointsResponse* response) override;
  grpc::Status VerifyCheckpoint(grpc::ServerContext* context, const v1::VerifyCheckpointRequest* request,
                                v1::VerifyCheckpointResponse* response) override;
  grpc::Status DeleteCheckpoint(grpc::ServerContext* context, const v1::DeleteCheckpointRequest* request,
                                v1::DeleteCheckpointResponse* response) override;
  grpc::Status ScaleJob(grpc::ServerContext* context, const v1::ScaleJobRequest* request,
                        v1::ScaleJobResponse* response) override;
  grpc::Status PauseJob(grpc::ServerContext* context, const v1::PauseJobRequest* request,
                        v1::PauseJobResponse* response) override;
  grpc::Status ResumeJob(grpc::ServerContext* context, const v1::ResumeJobRequest* request,
                         v1::ResumeJobResponse* response) override;

 private:
  const CoordinatorGate& gate_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_JOB_SERVICE_H_
