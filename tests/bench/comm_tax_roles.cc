#include "tests/bench/comm_tax_roles.h"

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "proto/job.grpc.pb.h"
#include "server/coordinator/coordinator_server.h"
#include "server/server.h"
#include "tests/bench/child_process.h"
#include "tests/framework/local_trainer.h"
#include "worker/worker.h"

namespace paramd {
namespace {

using nlohmann::json;

constexpr uint32_t kWarmUpSteps = 2;
constexpr absl::Duration kJobLimit = absl::Minutes(4);
constexpr absl::Duration kPoll = absl::Milliseconds(20);
constexpr char kAnyPort[] = "127.0.0.1:0";

absl::StatusOr<v1::JobSpec> ParseJob(const json& request) {
  ASSIGN_OR_RETURN(v1::JobSpec spec, ParseJobSpec(request.value("job", "")));
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  return spec;
}

absl::StatusOr<double> TrainingSeconds(v1::JobSpec spec, uint32_t steps) {
  spec.mutable_training()->set_steps(steps);
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(TrainLocally(spec).status());
  return absl::ToDoubleSeconds(absl::Now() - start);
}

class LocalRole {
 public:
  // Of the steps after the first two: what comes before them, data and compilation included, is taken off.
  absl::StatusOr<json> Handle(const json& request) {
    ASSIGN_OR_RETURN(const v1::JobSpec spec, ParseJob(request));
    const uint32_t steps = spec.training().steps();
    ASSIGN_OR_RETURN(const double before, TrainingSeconds(spec, kWarmUpSteps));
    ASSIGN_OR_RETURN(const double all, TrainingSeconds(spec, steps));
    const double tokens = static_cast<double>(spec.model().gpt2().context()) * spec.training().slots() *
                          spec.training().micro_batch() * (steps - kWarmUpSteps);
    return json{{"tokens_per_s", tokens / (all - before)}};
  }
};

class ServerRole {
 public:
  ~ServerRole() {
    if (server_ != nullptr) server_->Stop("done");
    if (coordinator_ != nullptr) coordinator_->Stop();
  }

  absl::StatusOr<json> Handle(const json& request) {
    return request.value("command", "") == "setup" ? Setup(request.value("directory", "")) : Train(request);
  }

 private:
  absl::StatusOr<json> Setup(const std::string& directory) {
    coordinator_ = std::make_unique<CoordinatorServer>(CoordinatorServerOptions{
        .listen = kAnyPort, .metrics_listen = kAnyPort, .data_dir = directory + "/coordinator"});
    RETURN_IF_ERROR(coordinator_->Start());
    const std::string address = absl::StrCat("127.0.0.1:", coordinator_->port());
    ASSIGN_OR_RETURN(server_, ParameterServer::Start({.listen = kAnyPort,
                                                      .metrics_listen = kAnyPort,
                                                      .coordinator = address,
                                                      .node_id = "server",
                                                      .memory_limit = "1GiB",
                                                      .output_dir = directory + "/output"}));
    jobs_ = v1::JobService::NewStub(CreateChannel(address, {}));
    return json{{"address", address}};
  }

  absl::StatusOr<json> Train(const json& request) {
    ASSIGN_OR_RETURN(const v1::JobSpec spec, ParseJob(request));
    v1::SubmitJobRequest submit;
    *submit.mutable_spec() = spec;
    v1::SubmitJobResponse submitted;
    grpc::ClientContext context;
    RETURN_IF_ERROR(FromGrpcStatus(jobs_->SubmitJob(&context, submit, &submitted)));
    ASSIGN_OR_RETURN(const v1::Job job, AwaitEnd(submitted.job().job_id()));
    if (job.state() != v1::JOB_STATE_SUCCEEDED) {
      return absl::InternalError(absl::StrCat(v1::JobState_Name(job.state()), " ", job.reason(), ": ", job.message()));
    }
    return json{{"tokens_per_s", job.progress().tokens_per_second()}};
  }

  absl::StatusOr<v1::Job> AwaitEnd(const std::string& job_id) {
    const absl::Time limit = absl::Now() + kJobLimit;
    v1::GetJobRequest get;
    get.set_job_id(job_id);
    while (absl::Now() < limit) {
      v1::GetJobResponse got;
      grpc::ClientContext context;
      RETURN_IF_ERROR(FromGrpcStatus(jobs_->GetJob(&context, get, &got)));
      const v1::JobState state = got.job().state();
      if (state != v1::JOB_STATE_PENDING && state != v1::JOB_STATE_RUNNING) return got.job();
      absl::SleepFor(kPoll);
    }
    return absl::DeadlineExceededError(absl::StrCat("job ", job_id, " is not over"));
  }

  std::unique_ptr<CoordinatorServer> coordinator_;
  std::unique_ptr<ParameterServer> server_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
};

class WorkerRole {
 public:
  ~WorkerRole() {
    if (worker_ != nullptr) worker_->Stop("done");
  }

  absl::StatusOr<json> Handle(const json& request) {
    ASSIGN_OR_RETURN(worker_, Worker::Start({.listen = kAnyPort,
                                             .metrics_listen = kAnyPort,
                                             .coordinator = request.value("coordinator", ""),
                                             .node_id = "worker"}));
    return json::object();
  }

 private:
  std::unique_ptr<Worker> worker_;
};

template <typename Role>
int Serve() {
  Role role;
  return AnswerParent([&role](const json& request) { return role.Handle(request); });
}

}  // namespace

int RunTaxRole(const std::string& role) {
  if (!InitLogging("comm_tax", "warning").ok()) return 1;
  if (role == "local") return Serve<LocalRole>();
  if (role == "server") return Serve<ServerRole>();
  if (role == "worker") return Serve<WorkerRole>();
  std::fprintf(stderr, "comm_tax: no role %s\n", role.c_str());
  return 2;
}

}  // namespace paramd
