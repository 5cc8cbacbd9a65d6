#include "server/service/fetch_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/rpc/error_status.h"
#include "server/service/wire.h"

namespace paramd {

grpc::ServerWriteReactor<v1::FetchChunksResponse>* FetchStream::Start(absl::StatusOr<std::shared_ptr<ServerJob>> job,
                                                                      uint64_t generation) {
  std::shared_ptr<FetchStream> stream(new FetchStream());
  stream->self_ = stream;
  absl::Status status = job.status();
  if (status.ok()) status = (*job)->shard().CheckServerGeneration(generation);
  if (!status.ok()) {
    stream->End(status);
    return stream.get();
  }
  stream->job_ = *job;
  stream->Next();
  return stream.get();
}

void FetchStream::Next() {
  const std::shared_ptr<ServerJob> job = job_.lock();
  if (job == nullptr) {
    return End(MakeError(absl::StatusCode::kFailedPrecondition, "JOB_RELEASED", "the job was released meanwhile"));
  }
  if (next_ == job->plan().local_chunks.size()) return End(absl::OkStatus());
  if (const absl::Status injected = HitFailpoint(Failpoint::kServerFetch); !injected.ok()) return End(injected);
  const int chunk = job->plan().local_chunks[next_++];
  job->GetSnapshot(
      chunk, [self = shared_from_this(), chunk](const SnapshotPointer& snapshot) { self->Write(chunk, snapshot); });
}

void FetchStream::Write(int chunk, const SnapshotPointer& snapshot) {
  absl::MutexLock lock(&mutex_);  // Against Finish in between: a write after it is not allowed.
  if (ended_) return;
  EncodeSnapshot(static_cast<uint32_t>(chunk), *snapshot, message_);
  StartWrite(&message_);
}

void FetchStream::OnWriteDone(bool ok) {
  if (ok) {
    Next();
  } else {
    End(absl::CancelledError("the reader is gone"));
  }
}

void FetchStream::End(const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(ended_, true)) return;
  }
  Finish(ToGrpcStatus(status));
}

}  // namespace paramd
