#include "client/cluster_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "common/rpc/tls_hint.h"

namespace paramd {
namespace {

// A job with a long placement or specification must fit.
constexpr int64_t kMaxMessageBytes = 16 * 1024 * 1024;

std::shared_ptr<grpc::Channel> ControlChannel(const std::string& address,
                                              const std::shared_ptr<const Credentials>& credentials) {
  return CreateChannel(
      address, {.kind = ChannelKind::kControl, .max_message_bytes = kMaxMessageBytes, .credentials = credentials});
}

}  // namespace

ClusterClient::ClusterClient(std::string address, absl::Duration request_timeout,
                             std::shared_ptr<const Credentials> credentials)
    : address_(std::move(address)),
      request_timeout_(request_timeout),
      credentials_(std::move(credentials)),
      jobs_(v1::JobService::NewStub(ControlChannel(address_, credentials_))),
      cluster_(v1::ClusterService::NewStub(ControlChannel(address_, credentials_))) {}

void ClusterClient::Prepare(grpc::ClientContext& context) const { PrepareCall({.timeout = request_timeout_}, context); }

absl::Status ClusterClient::Result(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  const bool late = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!late && status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpcStatus(status);
  const std::string cause =
      late ? absl::StrCat("no answer within ", absl::FormatDuration(request_timeout_)) : status.error_message();
  const TlsHint hint = ExplainTls(status.error_message(), credentials_ != nullptr);
  return MakeError(hint.refused ? absl::StatusCode::kUnauthenticated : absl::StatusCode::kUnavailable,
                   hint.refused ? "TLS_REFUSED" : "COORDINATOR_UNREACHABLE",
                   absl::StrCat("cannot reach the coordinator at ", address_, ": ", cause, hint.text),
                   {{"address", address_}});
}

absl::StatusOr<v1::SubmitJobResponse> ClusterClient::SubmitJob(const v1::SubmitJobRequest& request) {
  grpc::ClientContext context;
  Prepare(context);
  v1::SubmitJobResponse response;
  RETURN_IF_ERROR(Result(jobs_->SubmitJob(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::Job> ClusterClient::GetJob(const std::string& job_id) {
  grpc::ClientContext context;
  Prepare(context);
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::GetJobResponse response;
  RETURN_IF_ERROR(Result(jobs_->GetJob(&context, request, &response)));
  return std::move(*response.mutable_job());
}

absl::StatusOr<v1::ListJobsResponse> ClusterClient::ListJobs(const std::vector<v1::JobState>& states) {
  v1::ListJobsRequest request;
  for (v1::JobState state : states) request.add_states(state);
  v1::ListJobsResponse all;
  do {
    grpc::ClientContext context;
    Prepare(context);
    v1::ListJobsResponse page;
    RETURN_IF_ERROR(Result(jobs_->ListJobs(&context, request, &page)));
    all.mutable_jobs()->MergeFrom(page.jobs());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<v1::Job> ClusterClient::CancelJob(const std::string& job_id, bool save) {
  grpc::ClientContext context;
  Prepare(context);
  v1::CancelJobRequest request;
  request.set_job_id(job_id);
  request.set_save(save);
  v1::CancelJobResponse response;
  RETURN_IF_ERROR(Result(jobs_->CancelJob(&context, request, &response)));
  return std::move(*response.mutable_job());
}

absl::Status ClusterClient::DeleteJob(const std::string& job_id) {
  grpc::ClientContext context;
  Prepare(context);
  v1::DeleteJobRequest request;
  request.set_job_id(job_id);
  v1::DeleteJobResponse response;
  return Result(jobs_->DeleteJob(&context, request, &response));
}

absl::StatusOr<v1::ListNodesResponse> ClusterClient::ListNodes() {
  grpc::ClientContext context;
  Prepare(context);
  v1::ListNodesResponse response;
  RETURN_IF_ERROR(Result(cluster_->ListNodes(&context, v1::ListNodesRequest(), &response)));
  return response;
}

absl::StatusOr<v1::TraceJobResponse> ClusterClient::TraceJob(const std::string& job_id, uint32_t steps,
                                                             absl::Duration timeout) {
  grpc::ClientContext context;
  PrepareCall({.timeout = timeout}, context);
  v1::TraceJobRequest request;
  request.set_job_id(job_id);
  request.set_steps(steps);
  v1::TraceJobResponse response;
  const grpc::Status status = jobs_->TraceJob(&context, request, &response);
  // Late is the job's doing, not the coordinator's: it answers with what it has before the deadline.
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return FromGrpcStatus(status);
  RETURN_IF_ERROR(Result(status));
  return response;
}

absl::Status ClusterClient::WatchJob(const std::string& job_id, uint64_t after_sequence, grpc::ClientContext& context,
                                     const std::function<bool(const v1::WatchJobResponse&)>& on_update) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_after_sequence(after_sequence);
  const std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader = jobs_->WatchJob(&context, request);
  v1::WatchJobResponse update;
  while (reader->Read(&update)) {
    if (on_update(update)) continue;
    context.TryCancel();
    while (reader->Read(&update)) {
    }
    reader->Finish();  // CANCELLED by us.
    return absl::OkStatus();
  }
  // The deadline of a watch is the caller's, so it is not turned into "cannot reach".
  const grpc::Status status = reader->Finish();
  return status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ? FromGrpcStatus(status) : Result(status);
}

}  // namespace paramd
