// One ReduceNorm call at the lead server: waits until the step's total is known, the call's deadline is over or the job
// ends. Deletes itself when gRPC is done with it.
#ifndef PARAMD_SERVER_SERVICE_NORM_CALL_H_
#define PARAMD_SERVER_SERVICE_NORM_CALL_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "proto/parameter.pb.h"
#include "server/service/server_job.h"

namespace paramd {

class NormCall final : public grpc::ServerUnaryReactor, public std::enable_shared_from_this<NormCall> {
 public:
  // `job` may be an error, which is the answer then. `response` lives as long as the call.
  static grpc::ServerUnaryReactor* Start(absl::StatusOr<std::shared_ptr<ServerJob>> job,
                                         const v1::ReduceNormRequest& request, v1::ReduceNormResponse& response);

  void OnCancel() override { Answer(absl::CancelledError("the call was cancelled or its deadline is over")); }
  void OnDone() override;

 private:
  explicit NormCall(v1::ReduceNormResponse& response) : response_(response) {}
  // The first one counts.
  void Answer(const absl::StatusOr<double>& total);

  v1::ReduceNormResponse& response_;
  std::shared_ptr<NormCall> self_;  // Until OnDone; callbacks of the job hold the call, too.
  absl::Mutex mutex_;
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  std::weak_ptr<ServerJob> job_ ABSL_GUARDED_BY(mutex_);
  uint64_t number_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_NORM_CALL_H_
