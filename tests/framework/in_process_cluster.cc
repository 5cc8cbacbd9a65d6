#include "tests/framework/in_process_cluster.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"

namespace paramd {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(5);

std::string TestDirectory() {
  const char* root = std::getenv("TEST_TMPDIR");
  return absl::StrCat(root != nullptr ? root : "/tmp", "/cluster-", RandomSuffix(8));
}

bool Over(const v1::Job& job) {
  return job.state() == v1::JOB_STATE_SUCCEEDED || job.state() == v1::JOB_STATE_FAILED ||
         job.state() == v1::JOB_STATE_CANCELLED;
}

}  // namespace

absl::StatusOr<std::unique_ptr<InProcessCluster>> InProcessCluster::Start(ClusterShape shape) {
  std::unique_ptr<InProcessCluster> cluster(new InProcessCluster());
  RETURN_IF_ERROR(cluster->StartDaemons(shape));
  RETURN_IF_ERROR(cluster->AwaitLeases());
  return cluster;
}

InProcessCluster::~InProcessCluster() {
  for (auto& worker : workers_) worker->Stop("test ends");
  for (auto& server : servers_) server->Stop("test ends");
  if (coordinator_ != nullptr) coordinator_->Stop();
}

absl::Status InProcessCluster::StartDaemons(ClusterShape shape) {
  directory_ = TestDirectory();
  RETURN_IF_ERROR(EnsureDirectory(directory_));
  coordinator_ = std::make_unique<CoordinatorServer>(CoordinatorServerOptions{
      .listen = "127.0.0.1:0", .metrics_listen = "127.0.0.1:0", .data_dir = directory_ + "/coordinator"});
  RETURN_IF_ERROR(coordinator_->Start());
  const std::string address = absl::StrCat("127.0.0.1:", coordinator_->port());
  for (int i = 0; i < shape.servers; ++i) {
    ASSIGN_OR_RETURN(auto server, ParameterServer::Start({.listen = "127.0.0.1:0",
                                                          .metrics_listen = "127.0.0.1:0",
                                                          .coordinator = address,
                                                          .node_id = absl::StrCat("server-", i),
                                                          .memory_limit = "1GiB",
                                                          .threads = 2,
                                                          .output_dir = directory_ + "/output"}));
    servers_.push_back(std::move(server));
  }
  for (int i = 0; i < shape.workers; ++i) {
    ASSIGN_OR_RETURN(auto worker, Worker::Start({.listen = "127.0.0.1:0",
                                                 .metrics_listen = "127.0.0.1:0",
                                                 .coordinator = address,
                                                 .node_id = absl::StrCat("worker-", i)}));
    workers_.push_back(std::move(worker));
  }
  jobs_ = v1::JobService::NewStub(CreateChannel(address, {}));
  return absl::OkStatus();
}

absl::Status InProcessCluster::AwaitLeases() {
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  const auto welcomed = [](const auto& daemon) { return daemon->welcomed(); };
  while (!std::all_of(servers_.begin(), servers_.end(), welcomed) ||
         !std::all_of(workers_.begin(), workers_.end(), welcomed)) {
    if (absl::Now() > limit) return absl::DeadlineExceededError("the daemons have no lease after 20 s");
    absl::SleepFor(kPoll);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Job> InProcessCluster::Submit(const v1::JobSpec& spec) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  v1::SubmitJobResponse response;
  RETURN_IF_ERROR(FromGrpcStatus(jobs_->SubmitJob(&context, request, &response)));
  return response.job();
}

absl::StatusOr<v1::Job> InProcessCluster::Get(const std::string& job_id) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::GetJobResponse response;
  RETURN_IF_ERROR(FromGrpcStatus(jobs_->GetJob(&context, request, &response)));
  return response.job();
}

absl::Status InProcessCluster::AwaitStep(const std::string& job_id, uint64_t steps, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (true) {
    ASSIGN_OR_RETURN(const v1::Job job, Get(job_id));
    if (job.progress().step() >= steps) return absl::OkStatus();
    if (Over(job)) return absl::FailedPreconditionError(absl::StrCat("the job is over: ", job.message()));
    if (absl::Now() > deadline) return absl::DeadlineExceededError(absl::StrCat("at step ", job.progress().step()));
    absl::SleepFor(kPoll);
  }
}

absl::StatusOr<v1::Job> InProcessCluster::AwaitState(const std::string& job_id, v1::JobState state,
                                                     absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (true) {
    ASSIGN_OR_RETURN(v1::Job job, Get(job_id));
    if (job.state() == state) return job;
    const std::string now = absl::StrCat(v1::JobState_Name(job.state()), " at step ", job.progress().step(), ", ",
                                         job.reason(), ": ", job.message());
    if (Over(job)) return absl::FailedPreconditionError(now);
    if (absl::Now() > deadline) return absl::DeadlineExceededError(now);
    absl::SleepFor(kPoll);
  }
}

absl::StatusOr<v1::TraceJobResponse> InProcessCluster::Trace(const std::string& job_id, uint32_t steps,
                                                             absl::Duration limit) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
  v1::TraceJobRequest request;
  request.set_job_id(job_id);
  request.set_steps(steps);
  v1::TraceJobResponse response;
  RETURN_IF_ERROR(FromGrpcStatus(jobs_->TraceJob(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::Job> InProcessCluster::Run(const v1::JobSpec& spec, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  ASSIGN_OR_RETURN(v1::Job job, Submit(spec));
  while (!Over(job)) {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("not over after ", absl::FormatDuration(limit), ": ",
                                                      v1::JobState_Name(job.state()), " at step ",
                                                      job.progress().step(), ", ", job.reason(), ": ", job.message()));
    }
    absl::SleepFor(kPoll);
    ASSIGN_OR_RETURN(job, Get(job.job_id()));
  }
  return job;
}

}  // namespace paramd
