// A whole cluster inside the test: coordinator, servers and workers on free ports of the loopback, with real gRPC
// between them.
//
//   ASSERT_OK_AND_ASSIGN(auto cluster, InProcessCluster::Start({.servers = 2, .workers = 3}));
//   ASSERT_OK_AND_ASSIGN(v1::Job job, cluster->Run(spec));      // submits and waits for the end
//
// Every wait has a deadline. Not thread safe. The destructor stops workers, servers, coordinator, in this order.
#ifndef PARAMD_TESTS_FRAMEWORK_IN_PROCESS_CLUSTER_H_
#define PARAMD_TESTS_FRAMEWORK_IN_PROCESS_CLUSTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/job.grpc.pb.h"
#include "server/coordinator/coordinator_server.h"
#include "server/server.h"
#include "worker/worker.h"

namespace paramd {

struct ClusterShape {
  int servers = 1;
  int workers = 1;
};

class InProcessCluster {
 public:
  // Returns when all daemons hold a lease.
  static absl::StatusOr<std::unique_ptr<InProcessCluster>> Start(ClusterShape shape);
  ~InProcessCluster();

  // Submits the job and waits until it is over. The job may have failed; errors are those of the calls, and
  // kDeadlineExceeded with the job's last state.
  absl::StatusOr<v1::Job> Run(const v1::JobSpec& spec, absl::Duration limit = absl::Seconds(60));

  absl::StatusOr<v1::Job> Submit(const v1::JobSpec& spec);
  absl::StatusOr<v1::Job> Get(const std::string& job_id);
  // Waits until the job has done `steps` steps; kFailedPrecondition when it ends before.
  absl::Status AwaitStep(const std::string& job_id, uint64_t steps, absl::Duration limit = absl::Seconds(60));
  absl::StatusOr<v1::TraceJobResponse> Trace(const std::string& job_id, uint32_t steps,
                                             absl::Duration limit = absl::Seconds(30));

  // Waits until the job is in this state; kFailedPrecondition when it ends in another.
  absl::StatusOr<v1::Job> AwaitState(const std::string& job_id, v1::JobState state,
                                     absl::Duration limit = absl::Seconds(60));
  v1::JobService::Stub& jobs() { return *jobs_; }
  // As after SIGTERM. The index is that of the node's id, "server-1".
  void StopServer(int index) { servers_[index]->Stop("the test stops it"); }

  const std::string& directory() const { return directory_; }

 private:
  InProcessCluster() = default;
  absl::Status StartDaemons(ClusterShape shape);
  absl::Status AwaitLeases();

  std::string directory_;
  std::unique_ptr<CoordinatorServer> coordinator_;
  std::vector<std::unique_ptr<ParameterServer>> servers_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
};

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_IN_PROCESS_CLUSTER_H_
