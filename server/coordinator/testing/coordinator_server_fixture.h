// A whole coordinator on a free port with a data directory of its own, the fake daemons that a test adds to it, and the
// calls of its clients.
//
//   class MyTest : public CoordinatorServerFixture {};
//
//   TEST_F(MyTest, RunsAJob) {
//     StartServer();
//     AddServer("s0");
//     AddWorker("w0");
//     EXPECT_EQ(WaitForEnd(Submit(Spec(1))).state(), v1::JOB_STATE_SUCCEEDED);
//   }
//
// Set options_ before StartServer; its leases are short, and its port stays the same when a test resets server_ and
// starts it again. The daemons die with the test, before the coordinator. Not thread safe. Tests only.
#ifndef PARAMD_SERVER_COORDINATOR_TESTING_COORDINATOR_SERVER_FIXTURE_H_
#define PARAMD_SERVER_COORDINATOR_TESTING_COORDINATOR_SERVER_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/job.grpc.pb.h"
#include "server/coordinator/coordinator_server.h"
#include "server/coordinator/testing/fake_daemon.h"

namespace paramd {

class CoordinatorServerFixture : public testing::Test {
 protected:
  static constexpr absl::Duration kPatience = absl::Seconds(20);  // Of every wait, and the deadline of every call.

  CoordinatorServerFixture();
  ~CoordinatorServerFixture() override;

  void StartServer();
  // Starts the daemon and waits until it is registered.
  FakeDaemon& Add(FakeDaemonOptions options);
  FakeDaemon& AddServer(const std::string& id);
  FakeDaemon& AddWorker(const std::string& id, bool train = true, uint64_t stop_point = 0);

  // 20 steps of a small MLP on 4 slots.
  static v1::JobSpec Spec(uint32_t workers = 2, uint32_t servers = 1);
  static std::unique_ptr<grpc::ClientContext> Context();

  absl::StatusOr<v1::SubmitJobResponse> Submit(const v1::SubmitJobRequest& request);
  // The job's id; "" and a failed expectation when it was refused.
  std::string Submit(const v1::JobSpec& spec, const std::string& job_id = "");
  absl::StatusOr<v1::Job> Get(const std::string& job_id);
  absl::Status Cancel(const std::string& job_id, bool save);
  absl::Status Delete(const std::string& job_id);
  absl::StatusOr<v1::TraceJobResponse> Trace(const std::string& job_id, uint32_t steps,
                                             absl::Duration timeout = kPatience);
  // Follows the job until `enough` says so of an update or the watch ends, as watch_status_ then says; returns all
  // updates.
  std::vector<v1::WatchJobResponse> Watch(const std::string& job_id, uint64_t after,
                                          const std::function<bool(const v1::WatchJobResponse&)>& enough = nullptr);

  // The first job of a watch that fulfils the condition.
  v1::Job WaitFor(const std::string& job_id, const std::function<bool(const v1::Job&)>& condition);
  v1::Job WaitForEnd(const std::string& job_id);
  v1::Job WaitForPhase(const std::string& job_id, v1::JobPhase phase);
  // The message of the job's first event of that reason.
  std::string WaitForEvent(const std::string& job_id, const std::string& reason);

  CoordinatorServerOptions options_;
  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::ClusterService::Stub> cluster_;
  std::vector<std::unique_ptr<FakeDaemon>> daemons_;
  absl::Status watch_status_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TESTING_COORDINATOR_SERVER_FIXTURE_H_
