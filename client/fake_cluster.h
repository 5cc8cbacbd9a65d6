// A coordinator and a worker for tests of the client: one in-process gRPC server on a free port, whose jobs, nodes and
// watch streams a test scripts. It keeps no state machine; what a test sets is what the client gets.
//
//   FakeCluster cluster;
//   cluster.SetJob(job);
//   cluster.AddWatchScript({.updates = {...}, .end = grpc::Status::OK});
//   RunParamctl({"watch", "a-1", "--coordinator", cluster.address()}, environment);
//
// Thread safe.
#ifndef PARAMD_CLIENT_FAKE_CLUSTER_H_
#define PARAMD_CLIENT_FAKE_CLUSTER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/inference.grpc.pb.h"
#include "proto/job.grpc.pb.h"

namespace paramd {

// What one WatchJob stream says before it ends.
struct WatchScript {
  std::vector<v1::WatchJobResponse> updates;
  grpc::Status end;
  bool hang = false;  // After the updates: stay silent until the client goes.
};

class FakeCluster final : public v1::JobService::Service,
                          public v1::ClusterService::Service,
                          public v1::InferenceService::Service {
 public:
  // Listens on `port`, or on a free one.
  explicit FakeCluster(int port = 0);
  ~FakeCluster() override;

  int port() const { return port_; }
  std::string address() const;
  void SetJob(const v1::Job& job);
  void AddNode(const v1::Node& node);
  void AddWatchScript(WatchScript script);
  // Every unary job call fails with this from now on.
  void FailWith(grpc::Status status);
  // The answer to TraceJob.
  void SetTrace(const v1::TraceJobResponse& trace);
  // The answers to ListCheckpoints, one after the other; the last one stays. The other calls about checkpoints, pause
  // and resume succeed, and are remembered by name: "verify 20".
  void SetCheckpoints(std::vector<v1::ListCheckpointsResponse> lists);
  std::vector<std::string> checkpoint_calls() const;
  // Jobs of one page of ListJobs.
  void SetPageSize(int size);

  std::vector<uint64_t> watch_sequences() const;  // after_sequence of each WatchJob call.
  v1::SubmitJobRequest last_submit() const;
  v1::CancelJobRequest last_cancel() const;
  v1::GenerateRequest last_generate() const;
  v1::TraceJobRequest last_trace() const;
  absl::Duration last_trace_timeout() const;  // Until the deadline of the call.

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest*, v1::SubmitJobResponse*) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::GetJobResponse*) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*, v1::ListJobsResponse*) override;
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest*,
                        grpc::ServerWriter<v1::WatchJobResponse>*) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest*, v1::CancelJobResponse*) override;
  grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest*, v1::DeleteJobResponse*) override;
  grpc::Status TraceJob(grpc::ServerContext*, const v1::TraceJobRequest*, v1::TraceJobResponse*) override;
  grpc::Status CreateCheckpoint(grpc::ServerContext*, const v1::CreateCheckpointRequest*,
                                v1::CreateCheckpointResponse*) override;
  grpc::Status ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse*) override;
  grpc::Status VerifyCheckpoint(grpc::ServerContext*, const v1::VerifyCheckpointRequest*,
                                v1::VerifyCheckpointResponse*) override;
  grpc::Status DeleteCheckpoint(grpc::ServerContext*, const v1::DeleteCheckpointRequest*,
                                v1::DeleteCheckpointResponse*) override;
  grpc::Status PauseJob(grpc::ServerContext*, const v1::PauseJobRequest*, v1::PauseJobResponse*) override;
  grpc::Status ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest*, v1::ResumeJobResponse*) override;
  grpc::Status ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*, v1::ListNodesResponse*) override;
  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest*,
                        grpc::ServerWriter<v1::GenerateResponse>*) override;

 private:
  grpc::Status Find(const std::string& job_id, v1::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::vector<v1::Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Node> nodes_ ABSL_GUARDED_BY(mutex_);
  std::deque<WatchScript> scripts_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> watch_sequences_ ABSL_GUARDED_BY(mutex_);
  grpc::Status failure_ ABSL_GUARDED_BY(mutex_);
  int page_size_ ABSL_GUARDED_BY(mutex_) = 50;
  v1::SubmitJobRequest last_submit_ ABSL_GUARDED_BY(mutex_);
  v1::CancelJobRequest last_cancel_ ABSL_GUARDED_BY(mutex_);
  v1::GenerateRequest last_generate_ ABSL_GUARDED_BY(mutex_);
  v1::TraceJobRequest last_trace_ ABSL_GUARDED_BY(mutex_);
  absl::Duration last_trace_timeout_ ABSL_GUARDED_BY(mutex_);
  v1::TraceJobResponse trace_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::ListCheckpointsResponse> checkpoints_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> checkpoint_calls_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_FAKE_CLUSTER_H_
