// The calls about checkpoints, pause and resume.
#include <utility>

#include "client/cluster_client.h"
#include "common/base/status_macros.h"

namespace paramd {

absl::StatusOr<v1::Job> ClusterClient::PauseJob(const std::string& job_id) {
  v1::PauseJobRequest request;
  request.set_job_id(job_id);
  v1::PauseJobResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->PauseJob(&context, request, &response);
  }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<v1::Job> ClusterClient::ResumeJob(const std::string& job_id, uint64_t step) {
  v1::ResumeJobRequest request;
  request.set_job_id(job_id);
  request.set_step(step);
  v1::ResumeJobResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->ResumeJob(&context, request, &response);
  }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<v1::Checkpoint> ClusterClient::CreateCheckpoint(const std::string& job_id) {
  v1::CreateCheckpointRequest request;
  request.set_job_id(job_id);
  v1::CreateCheckpointResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->CreateCheckpoint(&context, request, &response);
  }));
  return std::move(*response.mutable_checkpoint());
}

absl::StatusOr<v1::ListCheckpointsResponse> ClusterClient::ListCheckpoints(const std::string& job_id) {
  v1::ListCheckpointsRequest request;
  request.set_job_id(job_id);
  v1::ListCheckpointsResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->ListCheckpoints(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<v1::Checkpoint> ClusterClient::VerifyCheckpoint(const std::string& job_id, uint64_t step) {
  v1::VerifyCheckpointRequest request;
  request.set_job_id(job_id);
  request.set_step(step);
  v1::VerifyCheckpointResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->VerifyCheckpoint(&context, request, &response);
  }));
  return std::move(*response.mutable_checkpoint());
}

absl::StatusOr<v1::Checkpoint> ClusterClient::DeleteCheckpoint(const std::string& job_id, uint64_t step, bool force) {
  v1::DeleteCheckpointRequest request;
  request.set_job_id(job_id);
  request.set_step(step);
  request.set_force(force);
  v1::DeleteCheckpointResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->DeleteCheckpoint(&context, request, &response);
  }));
  return std::move(*response.mutable_checkpoint());
}

}  // namespace paramd
