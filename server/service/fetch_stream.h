// One FetchChunks call: the job's chunks of this server, one after the other, each as a snapshot taken by its owner
// thread when its turn comes. Holds one encoded chunk at a time. Keeps itself alive until gRPC is done with it.
#ifndef PARAMD_SERVER_SERVICE_FETCH_STREAM_H_
#define PARAMD_SERVER_SERVICE_FETCH_STREAM_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "proto/parameter.pb.h"
#include "server/service/server_job.h"

namespace paramd {

class FetchStream final : public grpc::ServerWriteReactor<v1::FetchChunksResponse>,
                          public std::enable_shared_from_this<FetchStream> {
 public:
  // `job` may be an error, which is the answer then.
  static grpc::ServerWriteReactor<v1::FetchChunksResponse>* Start(absl::StatusOr<std::shared_ptr<ServerJob>> job,
                                                                  uint64_t generation);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { End(absl::CancelledError("the call was cancelled or its deadline is over")); }
  void OnDone() override { const std::shared_ptr<FetchStream> self = std::move(self_); }

 private:
  FetchStream() = default;
  // Asks for the next chunk's snapshot, or ends the stream after the last.
  void Next();
  void Write(int chunk, const SnapshotPointer& snapshot);
  // The first one counts.
  void End(const absl::Status& status);

  std::shared_ptr<FetchStream> self_;  // Until OnDone.
  std::weak_ptr<ServerJob> job_;       // A release must not wait for a slow reader.
  size_t next_ = 0;                    // Among the local chunks. Of the writer.
  absl::Mutex mutex_;
  v1::FetchChunksResponse message_ ABSL_GUARDED_BY(mutex_);  // The transport reads it until OnWriteDone.
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_FETCH_STREAM_H_
