// A parameter server or worker without parameters and work: speaks ClusterService.Session as a real daemon does, and
// answers the coordinator's commands at once. For tests of the coordinator and of its clients.
//
//   FakeDaemon worker({.address = "127.0.0.1:7070", .node_id = "w0", .role = v1::NODE_ROLE_WORKER});
//   worker.Start();
//   ASSERT_TRUE(worker.WaitForCommand(v1::CoordinatorMessage::kStart, absl::Seconds(5)));
//   worker.Kill();   // As kill -9: no good-bye, no more heartbeats.
//
// A worker with `train` runs all steps as soon as it is started; without, it waits for Train() or a stop. Threads: one
// reader and one for heartbeats; all methods are thread safe, but Start, Kill and Disconnect belong to one thread.
#ifndef PARAMD_SERVER_COORDINATOR_TESTING_FAKE_DAEMON_H_
#define PARAMD_SERVER_COORDINATOR_TESTING_FAKE_DAEMON_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "proto/cluster.grpc.pb.h"

namespace paramd {

struct FakeDaemonOptions {
  std::string address;  // The coordinator's.
  std::string node_id;
  v1::NodeRole role = v1::NODE_ROLE_WORKER;
  uint64_t incarnation = 1;
  uint64_t memory_limit_bytes = 1 << 30;  // Servers.
  uint32_t job_capacity = 1;              // Workers.
  bool train = true;                      // Workers: run all steps when started.
  bool prepare = true;                    // Answer Prepare*.
  uint64_t stop_point = 0;                // Workers: the answer to a StopRequest.
  bool trace = true;                      // Answer CollectTrace with TraceOf.
  uint64_t trace_first_step = 0;
  int trace_spans_per_step = 1;
};

class FakeDaemon {
 public:
  explicit FakeDaemon(FakeDaemonOptions options) : options_(std::move(options)) {}
  ~FakeDaemon() { Kill(); }

  // Opens a session and registers, with the jobs held; again after Disconnect.
  void Start();
  // Ends the session and the heartbeats, without a good-bye; keeps the jobs.
  void Disconnect();
  // The same, and forgets the jobs.
  void Kill();
  // Says good-bye and ends the session.
  void Leave();

  // Workers: reports `steps` steps with the given mean loss, evaluates, and says that it has finished.
  void Train(uint64_t steps, double loss);
  // Workers: progress alone.
  void ReportProgress(uint64_t step, double loss);

  // Spans of trace_first_step and the steps after it, as the options say.
  v1::TraceReport TraceOf(const v1::CollectTrace& command) const;

  bool WaitForCommand(v1::CoordinatorMessage::MessageCase kind, absl::Duration timeout);
  // How the session ended, once it has.
  bool WaitForEnd(absl::Duration timeout);
  absl::Status end_status();
  std::vector<v1::CoordinatorMessage> commands();

 private:
  using Stream = grpc::ClientReaderWriter<v1::DaemonMessage, v1::CoordinatorMessage>;

  void ReadLoop();
  void HeartbeatLoop();
  void Answer(const v1::CoordinatorMessage& command);
  void Prepare(const v1::JobAssignment& assignment);
  void Report(v1::JobReport report);
  void Write(const v1::DaemonMessage& message);

  const FakeDaemonOptions options_;
  std::unique_ptr<v1::ClusterService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
  std::thread reader_;
  std::thread heart_;

  absl::Mutex write_mutex_;  // Before mutex_; serialises writes.
  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);
  absl::Duration heartbeat_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(1);
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<v1::CoordinatorMessage> commands_ ABSL_GUARDED_BY(mutex_);
  v1::JobAssignment assignment_ ABSL_GUARDED_BY(mutex_);  // Empty job_id: holds none.
  uint32_t worker_slots_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t reported_step_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TESTING_FAKE_DAEMON_H_
