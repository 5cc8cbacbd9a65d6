#include "server/coordinator/job_service.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/rpc/error_status.h"

namespace paramd {

void WatchReactor::Send(const v1::WatchJobResponse& response) {
  response_ = response;
  StartWrite(&response_);
}

void WatchReactor::Finish(const absl::Status& status) {
  grpc::ServerWriteReactor<v1::WatchJobResponse>::Finish(ToGrpcStatus(status));
}

void WatchReactor::OnWriteDone(bool ok) {
  // A failed write means that the client is gone.
  if (!ok) coordinator_->CancelWatch(this);
  coordinator_->WatchReady(this);
}

void WatchReactor::OnCancel() {
  if (coordinator_ != nullptr) coordinator_->CancelWatch(this);
}

void TraceReactor::OnCancel() {
  if (coordinator_ != nullptr) coordinator_->CancelTrace(this);
}

void TraceReactor::Finish(absl::StatusOr<v1::TraceJobResponse> response) {
  if (response.ok()) response_ = *std::move(response);
  grpc::ServerUnaryReactor::Finish(ToGrpcStatus(response.status()));
}

grpc::Status JobService::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                   v1::SubmitJobResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::SubmitJobResponse> result = (*coordinator)->Submit(*request);
  if (result.ok()) *response = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::GetJobResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Job> result = (*coordinator)->Get(request->job_id());
  if (result.ok()) *response->mutable_job() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                  v1::ListJobsResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::ListJobsResponse> result = (*coordinator)->List(*request);
  if (result.ok()) *response = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(grpc::CallbackServerContext*,
                                                                     const v1::WatchJobRequest* request) {
  const auto coordinator = gate_.Get();
  auto* reactor = new WatchReactor(coordinator.value_or(nullptr));  // Deletes itself.
  if (coordinator.ok()) {
    (*coordinator)->StartWatch(*request, reactor);
  } else {
    reactor->Finish(coordinator.status());
  }
  return reactor;
}

grpc::Status JobService::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                   v1::CancelJobResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Job> result = (*coordinator)->Cancel(request->job_id(), request->save());
  if (result.ok()) *response->mutable_job() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request, v1::DeleteJobResponse*) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  return ToGrpcStatus((*coordinator)->Delete(request->job_id()));
}

grpc::ServerUnaryReactor* JobService::TraceJob(grpc::CallbackServerContext* context, const v1::TraceJobRequest* request,
                                               v1::TraceJobResponse* response) {
  const auto coordinator = gate_.Get();
  auto* reactor = new TraceReactor(coordinator.value_or(nullptr), *response);  // Deletes itself.
  if (coordinator.ok()) {
    (*coordinator)->StartTrace(*request, absl::FromChrono(context->deadline()) - absl::Now(), reactor);
  } else {
    reactor->Finish(coordinator.status());
  }
  return reactor;
}

grpc::Status JobService::CreateCheckpoint(grpc::ServerContext*, const v1::CreateCheckpointRequest* request,
                                          v1::CreateCheckpointResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Checkpoint> result = (*coordinator)->CreateCheckpoint(request->job_id());
  if (result.ok()) *response->mutable_checkpoint() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::VerifyCheckpoint(grpc::ServerContext*, const v1::VerifyCheckpointRequest* request,
                                          v1::VerifyCheckpointResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Checkpoint> result = (*coordinator)->VerifyCheckpoint(*request);
  if (result.ok()) *response->mutable_checkpoint() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::DeleteCheckpoint(grpc::ServerContext*, const v1::DeleteCheckpointRequest* request,
                                          v1::DeleteCheckpointResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Checkpoint> result = (*coordinator)->DeleteCheckpoint(*request);
  if (result.ok()) *response->mutable_checkpoint() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::ScaleJob(grpc::ServerContext*, const v1::ScaleJobRequest* request,
                                  v1::ScaleJobResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Job> result = (*coordinator)->Scale(request->job_id(), request->workers());
  if (result.ok()) *response->mutable_job() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                                  v1::PauseJobResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Job> result = (*coordinator)->Pause(request->job_id());
  if (result.ok()) *response->mutable_job() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                   v1::ResumeJobResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  absl::StatusOr<v1::Job> result = (*coordinator)->Resume(*request);
  if (result.ok()) *response->mutable_job() = *std::move(result);
  return ToGrpcStatus(result.status());
}

grpc::Status JobService::ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest* request,
                                         v1::ListCheckpointsResponse* response) {
  const auto coordinator = gate_.Get();
  if (!coordinator.ok()) return ToGrpcStatus(coordinator.status());
  const absl::StatusOr<std::vector<v1::Checkpoint>> result = (*coordinator)->ListCheckpoints(request->job_id());
  if (!result.ok()) return ToGrpcStatus(result.status());
  for (const v1::Checkpoint& checkpoint : *result) *response->add_checkpoints() = checkpoint;
  return grpc::Status::OK;
}

}  // namespace paramd
