#include "server/service/parameter_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/address.h"
#include "common/rpc/parameter_wire.h"
#include "grpc/grpc_security_constants.h"
#include "server/service/attachment.h"
#include "server/service/fetch_stream.h"
#include "server/service/norm_call.h"
#include "server/service/wire.h"

namespace paramd {

namespace {

// Memory of one host is copied by its kernel, and TLS has a checksum of its own: only plain connections between hosts
// rely on TCP's 16 bits.
bool NeedsChecksum(const grpc::CallbackServerContext& context) {
  const auto asked = context.client_metadata().find(kChecksumMetadata);
  if (asked != context.client_metadata().end() && asked->second == kChecksumAlways) return true;
  const std::string peer = context.peer();
  if (TransportOfPeer(peer) == Transport::kUnix || IsLoopbackPeer(peer)) return false;
  const auto security = context.auth_context()->FindPropertyValues(GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME);
  return std::find(security.begin(), security.end(), GRPC_SSL_TRANSPORT_SECURITY_TYPE) == security.end();
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ParameterService::Exchange(
    grpc::CallbackServerContext* context) {
  std::shared_ptr<ExchangeStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    const ExchangeStreamOptions options = {.number = next_stream_++,
                                           .transport = TransportOfPeer(context->peer()),
                                           .shared_memory = options_.shared_memory,
                                           .checksum = NeedsChecksum(*context),
                                           .limits = options_.limits};
    stream = ExchangeStream::Create(options, *this, metrics_);
    streams_.emplace(options.number, stream);
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

bool ParameterService::UpdateMetrics() {
  int64_t held = 0, unsent = 0;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [number, weak] : streams_) {
      const std::shared_ptr<ExchangeStream> stream = weak.lock();
      if (stream == nullptr) continue;
      held += stream->held_bytes();
      unsent += stream->unsent_bytes();
    }
  }
  metrics_.push_bytes_in_flight().Set(static_cast<double>(held));
  metrics_.pull_bytes_in_flight().Set(static_cast<double>(unsent));
  return held > 0 || unsent > 0;
}

void ParameterService::OnStreamGone(uint64_t stream) {
  {
    absl::MutexLock lock(&mutex_);
    streams_.erase(stream);
  }
  jobs_.DropStream(stream);
}

absl::Status ParameterService::CheckLease(Lease lease) {
  if (lease != Lease::kLost) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnavailable, "LEASE_LOST",
                   "this server has no lease: it serves nobody until a coordinator welcomes it again");
}

absl::StatusOr<std::shared_ptr<ServerJob>> ParameterService::FindJob(absl::string_view job_id) const {
  const Lease lease = CurrentLease();
  RETURN_IF_ERROR(CheckLease(lease));
  std::shared_ptr<ServerJob> job = jobs_.Find(job_id);
  if (job == nullptr && lease == Lease::kNone) {
    // The job may be that of an earlier process, which the coordinator does not know to be gone.
    return MakeError(absl::StatusCode::kUnavailable, "JOB_NOT_READY",
                     absl::StrCat("no job ", job_id, " on this server, which has not registered yet"));
  }
  if (job == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", absl::StrCat("no job ", job_id, " on this server"));
  }
  if (!job->initialized()) {
    return MakeError(absl::StatusCode::kUnavailable, "JOB_NOT_READY",
                     absl::StrCat("job ", job_id, " is still being prepared"));
  }
  return job;
}

absl::StatusOr<std::shared_ptr<ServerJob>> ParameterService::FindJob(const RequestHeader& header,
                                                                     ExchangeStream::ReaderState& state) const {
  std::shared_ptr<ServerJob> job = state.job.lock();
  // A job that was released or replaced has ended.
  if (job != nullptr && !job->ended() && absl::string_view(job->plan().job_id) == header.job_id.view()) {
    RETURN_IF_ERROR(CheckLease(CurrentLease()));
    return job;
  }
  job = nullptr;  // Not held while another one is looked for.
  ASSIGN_OR_RETURN(job, FindJob(header.job_id.view()));
  state.job = job;
  return job;
}

absl::Status ParameterService::Route(InboundSlot& slot) {
  const RequestHeader& header = slot.message.header;
  ChunkRequest& request = slot.request;
  const absl::Time now = clock_.Now();
  RETURN_IF_ERROR(FillChunkRequest(header, now, options_.request_timeout, request));
  ExchangeStream::ReaderState& state = slot.stream->reader_state();
  ASSIGN_OR_RETURN(slot.job, FindJob(header, state));
  RETURN_IF_ERROR(slot.job->shard().Check(request));
  const Chunk& chunk = *slot.job->shard().FindChunk(request.chunk);
  request.payload = slot.message.payload();
  request.shared_answer = {};
  RETURN_IF_ERROR(ResolveSharedMemory(header, state.attachment.get(), chunk.elements(), request));
  if (absl::Status status = CheckPayload(header, request.payload); !status.ok()) {
    slot.job->metrics().dropped_damaged.Increment();
    return status;
  }
  threads_.Submit(slot.job->OwnerOf(chunk), slot, now);
  return absl::OkStatus();
}

}  // namespace paramd
