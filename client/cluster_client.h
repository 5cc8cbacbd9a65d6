// The coordinator's services as functions that return a status, each call with a deadline.
//
//   ClusterClient client("127.0.0.1:7070", absl::Seconds(10));
//   ASSIGN_OR_RETURN(v1::Job job, client.GetJob("gpt-austen-x3k9qz"));
//
// Of several coordinators, "a:7070,b:7070", it finds the one that leads, and waits for one to be elected, within the
// request timeout. A call whose answer was lost is then made again; SubmitJob gets a request id for that, and a job
// that is gone when DeleteJob is repeated was deleted.
//
// When nobody answers in time, every call fails with kUnavailable, reason COORDINATOR_UNREACHABLE, and
// "cannot reach the coordinator at ADDRESS: ..."; with kUnauthenticated, reason TLS_REFUSED, and the same when who
// answers is not who it should be. Thread safe.
#ifndef PARAMD_CLIENT_CLUSTER_CLIENT_H_
#define PARAMD_CLIENT_CLUSTER_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/rpc/coordinator_choice.h"
#include "common/rpc/credentials.h"
#include "grpcpp/client_context.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/job.grpc.pb.h"

namespace paramd {

class ClusterClient {
 public:
  // `addresses` as ParseCoordinatorList takes them. Null `credentials`: plain text.
  ClusterClient(const std::string& addresses, absl::Duration request_timeout,
                std::shared_ptr<const Credentials> credentials = nullptr);

  // The coordinator that is asked first, now.
  std::string address() const;
  const std::shared_ptr<const Credentials>& credentials() const { return credentials_; }

  absl::StatusOr<v1::SubmitJobResponse> SubmitJob(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::Job> GetJob(const std::string& job_id);
  // All pages, newest job first.
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const std::vector<v1::JobState>& states);
  absl::StatusOr<v1::Job> CancelJob(const std::string& job_id, bool save);
  absl::Status DeleteJob(const std::string& job_id);
  absl::StatusOr<v1::Job> ScaleJob(const std::string& job_id, uint32_t workers);
  absl::StatusOr<v1::Job> PauseJob(const std::string& job_id);
  // Step 0: from the newest good checkpoint.
  absl::StatusOr<v1::Job> ResumeJob(const std::string& job_id, uint64_t step);
  // These three return at once; ListCheckpoints shows what becomes of it.
  absl::StatusOr<v1::Checkpoint> CreateCheckpoint(const std::string& job_id);
  absl::StatusOr<v1::Checkpoint> VerifyCheckpoint(const std::string& job_id, uint64_t step);
  absl::StatusOr<v1::Checkpoint> DeleteCheckpoint(const std::string& job_id, uint64_t step, bool force);
  absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string& job_id);
  absl::StatusOr<v1::ListNodesResponse> ListNodes();
  // Waits for the job's next steps, for `timeout` instead of the request timeout.
  absl::StatusOr<v1::TraceJobResponse> TraceJob(const std::string& job_id, uint32_t steps, absl::Duration timeout);

  // Calls `on_update` for every message of one WatchJob stream until it returns false or the stream ends. The caller
  // may cancel `context` from another thread and owns its deadline.
  absl::Status WatchJob(const std::string& job_id, uint64_t after_sequence, grpc::ClientContext& context,
                        const std::function<bool(const v1::WatchJobResponse&)>& on_update);

 private:
  struct Stubs {
    Stubs(const std::string& coordinator, const std::shared_ptr<const Credentials>& credentials);
    const std::string address;
    std::unique_ptr<v1::JobService::Stub> jobs;
    std::unique_ptr<v1::ClusterService::Stub> cluster;
  };
  // One attempt of a unary call.
  using Attempt = std::function<grpc::Status(Stubs& stubs, grpc::ClientContext& context)>;

  size_t coordinators() const;
  // Of the coordinator that is asked first now.
  std::shared_ptr<Stubs> Current();
  // Chooses another coordinator when `stubs` is still the present choice; false: wait before asking it.
  bool Leave(const Stubs& stubs, const absl::Status& why);
  // Asks coordinators in turn until one answers or `timeout` is over.
  absl::Status Call(absl::Duration timeout, const Attempt& attempt);
  absl::Status Result(const std::string& address, const grpc::Status& status, absl::Duration timeout) const;

  const absl::Duration request_timeout_;
  const std::shared_ptr<const Credentials> credentials_;
  mutable absl::Mutex mutex_;
  CoordinatorChoice choice_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Stubs> stubs_ ABSL_GUARDED_BY(mutex_);  // Null when there is no connection worth keeping.
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_CLUSTER_CLIENT_H_
