#include "client/cluster_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
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

ClusterClient::ClusterClient(const std::string& addresses, absl::Duration request_timeout,
                             std::shared_ptr<const Credentials> credentials)
    : request_timeout_(request_timeout),
      credentials_(std::move(credentials)),
      choice_(ParseCoordinatorList(addresses).value_or(std::vector<std::string>{addresses})) {}

std::string ClusterClient::address() const {
  absl::MutexLock lock(&mutex_);
  return choice_.current();
}

size_t ClusterClient::coordinators() const {
  absl::MutexLock lock(&mutex_);
  return choice_.size();
}

ClusterClient::Stubs::Stubs(const std::string& coordinator, const std::shared_ptr<const Credentials>& credentials)
    : address(coordinator),
      jobs(v1::JobService::NewStub(ControlChannel(coordinator, credentials))),
      cluster(v1::ClusterService::NewStub(ControlChannel(coordinator, credentials))) {}

std::shared_ptr<ClusterClient::Stubs> ClusterClient::Current() {
  absl::MutexLock lock(&mutex_);
  if (stubs_ == nullptr) stubs_ = std::make_shared<Stubs>(choice_.current(), credentials_);
  return stubs_;
}

// Channels are made anew, since nobody drives an old one's attempts to connect again between blocking calls.
bool ClusterClient::Leave(const Stubs& stubs, const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (stubs_.get() != &stubs) return true;
  stubs_ = nullptr;
  return choice_.Next(why);
}

absl::Status ClusterClient::Result(const std::string& address, const grpc::Status& status,
                                   absl::Duration timeout) const {
  if (status.ok()) return absl::OkStatus();
  const bool late = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!late && status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpcStatus(status);
  const std::string cause =
      late ? absl::StrCat("no answer within ", absl::FormatDuration(timeout)) : status.error_message();
  const TlsHint hint = ExplainTls(status.error_message(), credentials_ != nullptr);
  return MakeError(hint.refused ? absl::StatusCode::kUnauthenticated : absl::StatusCode::kUnavailable,
                   hint.refused ? "TLS_REFUSED" : "COORDINATOR_UNREACHABLE",
                   absl::StrCat("cannot reach the coordinator at ", address, ": ", cause, hint.text),
                   {{"address", address}});
}

absl::Status ClusterClient::Call(absl::Duration timeout, const Attempt& attempt) {
  const absl::Time deadline = absl::Now() + timeout;
  const bool several = coordinators() > 1;
  Backoff backoff({.max_backoff = absl::Seconds(1)}, absl::ToUnixNanos(absl::Now()));
  absl::Status last;  // The newest that says more than "a standby".
  while (true) {
    const std::shared_ptr<Stubs> stubs = Current();
    const absl::Duration left = deadline - absl::Now();
    // One that accepts connections and stands still must leave time for the others.
    const absl::Duration part = several ? std::min(left, timeout / static_cast<int64_t>(coordinators())) : left;
    grpc::ClientContext context;
    PrepareCall({.timeout = part}, context);
    const grpc::Status answer = attempt(*stubs, context);
    const absl::Status status = Result(stubs->address, answer, several ? part : timeout);
    const absl::Status cause = FromGrpcStatus(answer);
    const bool standby = ErrorReason(cause) == "NOT_LEADER";
    if (status.ok()) {
      absl::MutexLock lock(&mutex_);
      choice_.Served();
    }
    if (status.ok() || !(absl::IsUnavailable(cause) || absl::IsDeadlineExceeded(cause))) return status;
    if (!several && !standby) return status;
    if (!standby || last.ok()) last = status;
    const absl::Duration pause = Leave(*stubs, cause) ? absl::ZeroDuration() : backoff.Next();
    if (absl::Now() + pause >= deadline) return last;
    absl::SleepFor(pause);
  }
}

absl::StatusOr<v1::SubmitJobResponse> ClusterClient::SubmitJob(const v1::SubmitJobRequest& request) {
  v1::SubmitJobRequest repeatable = request;
  if (coordinators() > 1 && repeatable.request_id().empty()) repeatable.set_request_id(NewRequestId());
  v1::SubmitJobResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->SubmitJob(&context, repeatable, &response);
  }));
  return response;
}

absl::StatusOr<v1::Job> ClusterClient::GetJob(const std::string& job_id) {
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::GetJobResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->GetJob(&context, request, &response);
  }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<v1::ListJobsResponse> ClusterClient::ListJobs(const std::vector<v1::JobState>& states) {
  v1::ListJobsRequest request;
  for (v1::JobState state : states) request.add_states(state);
  v1::ListJobsResponse all;
  do {
    v1::ListJobsResponse page;
    RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
      return stubs.jobs->ListJobs(&context, request, &page);
    }));
    all.mutable_jobs()->MergeFrom(page.jobs());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<v1::Job> ClusterClient::ScaleJob(const std::string& job_id, uint32_t workers) {
  v1::ScaleJobRequest request;
  request.set_job_id(job_id);
  request.set_workers(workers);
  v1::ScaleJobResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->ScaleJob(&context, request, &response);
  }));
  return std::move(*response.mutable_job());
}

absl::StatusOr<v1::Job> ClusterClient::CancelJob(const std::string& job_id, bool save) {
  v1::CancelJobRequest request;
  request.set_job_id(job_id);
  request.set_save(save);
  v1::CancelJobResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.jobs->CancelJob(&context, request, &response);
  }));
  return std::move(*response.mutable_job());
}

absl::Status ClusterClient::DeleteJob(const std::string& job_id) {
  v1::DeleteJobRequest request;
  request.set_job_id(job_id);
  v1::DeleteJobResponse response;
  bool in_doubt = false;  // Whether an earlier attempt may have been carried out.
  return Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    const grpc::Status status = stubs.jobs->DeleteJob(&context, request, &response);
    if (in_doubt && status.error_code() == grpc::StatusCode::NOT_FOUND) return grpc::Status::OK;
    in_doubt = in_doubt || ErrorReason(FromGrpcStatus(status)) != "NOT_LEADER";
    return status;
  });
}

absl::StatusOr<v1::ListNodesResponse> ClusterClient::ListNodes() {
  v1::ListNodesResponse response;
  RETURN_IF_ERROR(Call(request_timeout_, [&](Stubs& stubs, grpc::ClientContext& context) {
    return stubs.cluster->ListNodes(&context, v1::ListNodesRequest(), &response);
  }));
  return response;
}

absl::StatusOr<v1::TraceJobResponse> ClusterClient::TraceJob(const std::string& job_id, uint32_t steps,
                                                             absl::Duration timeout) {
  if (coordinators() > 1) RETURN_IF_ERROR(GetJob(job_id).status());  // Finds who leads: a trace is not begun twice.
  const std::shared_ptr<Stubs> stubs = Current();
  grpc::ClientContext context;
  PrepareCall({.timeout = timeout}, context);
  v1::TraceJobRequest request;
  request.set_job_id(job_id);
  request.set_steps(steps);
  v1::TraceJobResponse response;
  const grpc::Status status = stubs->jobs->TraceJob(&context, request, &response);
  // Late is the job's doing, not the coordinator's: it answers with what it has before the deadline.
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return FromGrpcStatus(status);
  RETURN_IF_ERROR(Result(stubs->address, status, timeout));
  return response;
}

absl::Status ClusterClient::WatchJob(const std::string& job_id, uint64_t after_sequence, grpc::ClientContext& context,
                                     const std::function<bool(const v1::WatchJobResponse&)>& on_update) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_after_sequence(after_sequence);
  const std::shared_ptr<Stubs> stubs = Current();
  const std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader = stubs->jobs->WatchJob(&context, request);
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
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return FromGrpcStatus(status);
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) Leave(*stubs, FromGrpcStatus(status));
  return Result(stubs->address, status, request_timeout_);
}

}  // namespace paramd
