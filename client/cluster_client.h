// The coordinator's services as functions that return a status, each call with a deadline.
//
//   ClusterClient client("127.0.0.1:7070", absl::Seconds(10));
//   ASSIGN_OR_RETURN(v1::Job job, client.GetJob("gpt-austen-x3k9qz"));
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

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/credentials.h"
#include "grpcpp/client_context.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/job.grpc.pb.h"

namespace paramd {

class ClusterClient {
 public:
  // Null `credentials`: plain text.
  ClusterClient(std::string address, absl::Duration request_timeout,
                std::shared_ptr<const Credentials> credentials = nullptr);

  const std::string& address() const { return address_; }
  const std::shared_ptr<const Credentials>& credentials() const { return credentials_; }

  absl::StatusOr<v1::SubmitJobResponse> SubmitJob(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::Job> GetJob(const std::string& job_id);
  // All pages, newest job first.
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const std::vector<v1::JobState>& states);
  absl::StatusOr<v1::Job> CancelJob(const std::string& job_id, bool save);
  absl::Status DeleteJob(const std::string& job_id);
  absl::StatusOr<v1::ListNodesResponse> ListNodes();
  // Waits for the job's next steps, for `timeout` instead of the request timeout.
  absl::StatusOr<v1::TraceJobResponse> TraceJob(const std::string& job_id, uint32_t steps, absl::Duration timeout);

  // Calls `on_update` for every message of one WatchJob stream until it returns false or the stream ends. The caller
  // may cancel `context` from another thread and owns its deadline.
  absl::Status WatchJob(const std::string& job_id, uint64_t after_sequence, grpc::ClientContext& context,
                        const std::function<bool(const v1::WatchJobResponse&)>& on_update);

 private:
  absl::Status Result(const grpc::Status& status) const;
  void Prepare(grpc::ClientContext& context) const;

  const std::string address_;
  const absl::Duration request_timeout_;
  const std::shared_ptr<const Credentials> credentials_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::ClusterService::Stub> cluster_;
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_CLUSTER_CLIENT_H_
