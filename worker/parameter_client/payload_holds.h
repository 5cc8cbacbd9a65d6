// Payloads that gRPC refers to: who sends memory without copying it must know when nobody reads it any more. Answers do
// not tell, because a connection may still be writing a message whose stream was cancelled and whose content arrived
// by another one.
//
//   auto holds = std::make_shared<PayloadHolds>(chunks);
//   grpc::Slice slice = holds->Hold(chunk, bytes, owner);      // counted until gRPC drops the slice
//   ...
//   if (holds->WaitForChunk(chunk)) Overwrite(bytes);
//
// Thread safe. Slices keep the object, and what they were given as owner, alive.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_PAYLOAD_HOLDS_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_PAYLOAD_HOLDS_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/slice.h"

namespace paramd {

class PayloadHolds final : public std::enable_shared_from_this<PayloadHolds> {
 public:
  explicit PayloadHolds(int chunks) : counts_(chunks, 0) {}

  // A slice of `bytes`. `owner` may be null: then the caller keeps the bytes alive while the slice is counted.
  grpc::Slice Hold(int chunk, absl::string_view bytes, std::shared_ptr<const void> owner);

  // Waits until no slice of the chunk is left. False: Cancel ended the wait.
  bool WaitForChunk(int chunk);
  // Waits until no slice at all is left, whether cancelled or not.
  void WaitForAll();
  // Ends all waits for chunks, now and later.
  void Cancel();

 private:
  struct Held;
  static void Drop(void* held);

  // A leaf: gRPC drops slices on any thread, whatever locks are held there.
  absl::Mutex mutex_;
  std::vector<int> counts_ ABSL_GUARDED_BY(mutex_);
  int total_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_PAYLOAD_HOLDS_H_
