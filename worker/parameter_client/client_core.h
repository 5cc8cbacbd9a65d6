// What the links of a parameter client have in common: which chunk takes which link, encoding, the end by a failure,
// and the timer. See parameter_client.h for the contract.
//
// Threading: links have mutexes of their own; the one here is a leaf below them. A failure of one link ends all, from
// whatever thread notices it, with no mutex held.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_CORE_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_CORE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/parameter_client/encoded_buffers.h"
#include "worker/parameter_client/parameter_client.h"
#include "worker/parameter_client/payload_holds.h"
#include "worker/parameter_client/server_link.h"

namespace paramd {

class ParameterClientCore final : private ServerLinkOwner {
 public:
  // The placement fits the plan.
  ParameterClientCore(ParameterClientOptions options, const ArenaPlan& plan);

  void Start();
  // Cancels and waits until no callback can come any more, and nothing borrowed is referred to.
  void Stop();

  absl::Status WaitForConnections(absl::Duration timeout);
  absl::Status Send(const ParameterCall& call);
  absl::StatusOr<ChunkVersion> WaitForChunk(int chunk);
  absl::Status WaitForPushes();
  void ChangeGeneration(uint64_t generation, uint32_t worker_index);
  void SetInterrupted(bool interrupted);
  void Fail(const absl::Status& reason);
  absl::Status status() const;
  ParameterClientStats stats() const;

 private:
  struct Route {
    int link = 0;
    int index = 0;  // Among the link's chunks.
  };

  // Deals the chunks of each server to its streams in turn, and makes the links.
  void MakeLinks(const ArenaPlan& plan);
  absl::Status Check(const ParameterCall& call) const;
  absl::StatusOr<PushBytes> Encode(const ParameterCall& call, const ServerLink& link);

  void OnLinkFailed(const absl::Status& status) override { Fail(status); }
  void WakeTimer() override;
  void RunTimer();

  // Constant after construction.
  const ParameterClientOptions options_;
  std::vector<int64_t> chunk_elements_;
  std::vector<Route> routes_;  // By chunk.

  // Own synchronisation.
  const std::shared_ptr<PayloadHolds> holds_;
  const std::shared_ptr<EncodedBuffers> encoder_;  // Null: everything is FP32.
  std::atomic<int64_t> open_requests_ = 0;
  std::vector<std::unique_ptr<ServerLink>> links_;

  mutable absl::Mutex mutex_;
  absl::CondVar timer_wake_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool timer_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread timer_;  // Started by Start, joined by Stop.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_CLIENT_CORE_H_
