#include "server/service/parameter_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/error_status.h"
#include "server/service/fetch_stream.h"
#include "server/service/norm_call.h"
#include "server/service/wire.h"

namespace paramd {

grpc::ServerBidiReactor<v1::ParameterRequest, v1::ParameterResponse>* ParameterService::Exchange(
    grpc::CallbackServerContext*) {
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    number = next_stream_++;
  }
  const std::shared_ptr<ExchangeStream> stream = ExchangeStream::Create(number, *this);
  {
    absl::MutexLock lock(&mutex_);
    streams_.emplace(number, stream);
  }
  stream->Start();
  return stream.get();
}

grpc::ServerUnaryReactor* ParameterService::ReduceNorm(grpc::CallbackServerContext*,
                                                       const v1::ReduceNormRequest* request,
                                                       v1::ReduceNormResponse* response) {
  return NormCall::Start(FindJob(request->job_id()), *request, *response);
}

grpc::ServerWriteReactor<v1::FetchChunksResponse>* ParameterService::FetchChunks(
    grpc::CallbackServerContext*, const v1::FetchChunksRequest* request) {
  return FetchStream::Start(FindJob(request->job_id()), request->generation());
}

void ParameterService::Deliver(Answer answer) {
  std::shared_ptr<ExchangeStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = streams_.find(answer.key.stream);
    if (found != streams_.end()) stream = found->second.lock();
  }
  if (stream != nullptr) stream->Deliver(std::move(answer));
}

void ParameterService::OnStreamGone(uint64_t stream) {
  {
    absl::MutexLock lock(&mutex_);
    streams_.erase(stream);
  }
  jobs_->DropStream(stream);
}

absl::StatusOr<std::shared_ptr<ServerJob>> ParameterService::FindJob(const std::string& job_id) const {
  std::shared_ptr<ServerJob> job = jobs_->Find(job_id);
  if (job == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", absl::StrCat("no job ", job_id, " on this server"));
  }
  if (!job->initialized()) {
    return MakeError(absl::StatusCode::kUnavailable, "JOB_NOT_READY",
                     absl::StrCat("job ", job_id, " is still being prepared"));
  }
  return job;
}

bool ParameterService::Route(const std::shared_ptr<ExchangeStream>& stream,
                             const std::shared_ptr<const v1::ParameterRequest>& message) {
  const absl::StatusOr<bool> taken = Enqueue(stream, message);
  if (taken.ok()) return *taken;
  stream->Deliver({.key = {.stream = stream->number(), .request_id = message->request_id()},
                   .status = taken.status(),
                   .chunk = message->chunk()});
  return true;
}

absl::StatusOr<bool> ParameterService::Enqueue(const std::shared_ptr<ExchangeStream>& stream,
                                               const std::shared_ptr<const v1::ParameterRequest>& message) {
  ASSIGN_OR_RETURN(ChunkRequest request, DecodeRequest(*message, clock_.Now(), request_timeout_));
  request.key.stream = stream->number();
  ASSIGN_OR_RETURN(const std::shared_ptr<ServerJob> job, FindJob(message->job_id()));
  if (absl::Status status = job->shard().Check(request); !status.ok()) {
    if (status.code() == absl::StatusCode::kFailedPrecondition && request.push)
      job->metrics().dropped_fenced.Increment();
    return status;
  }
  RETURN_IF_ERROR(CheckPayload(*message));
  OwnerThreads::Task task = [job, message, request] { job->Handle(request); };
  return threads_->TryPost(job->OwnerOf(*job->shard().FindChunk(request.chunk)), task, [stream] { stream->Resume(); });
}

}  // namespace paramd
