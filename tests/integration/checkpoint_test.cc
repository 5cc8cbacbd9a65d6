// Jobs that stop and go on from checkpoints: paused, failed, on other servers, in another job. In `sync` they end with
// the very bits of a training that never stopped.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/random_read_file.h"
#include "common/base/status_macros.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/framework/example_jobs.h"
#include "tests/framework/in_process_cluster.h"
#include "tests/framework/local_trainer.h"

namespace paramd {
namespace {

using testing::Contains;
using testing::IsSupersetOf;

constexpr uint32_t kSteps = 300;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<InProcessCluster>> cluster = InProcessCluster::Start({.servers = 4, .workers = 2});
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
    absl::StatusOr<v1::JobSpec> spec = TinyGptJob(cluster_->directory());
    ASSERT_OK(spec);
    spec_ = *std::move(spec);
    spec_.mutable_training()->set_steps(kSteps);
    spec_.mutable_training()->set_evaluate_every(0);
    spec_.mutable_optimizer()->mutable_schedule()->set_decay_steps(kSteps);
    spec_.mutable_resources()->set_servers(2);
    spec_.mutable_resources()->set_workers(2);
  }

  // Calls a method of JobService.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                             Response*),
                                const std::function<void(Request&)>& fill) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    Request request;
    fill(request);
    Response response;
    RETURN_IF_ERROR(FromGrpcStatus((cluster_->jobs().*method)(&context, request, &response)));
    return response;
  }
  absl::Status Pause(const std::string& job_id) {
    return Call<v1::PauseJobRequest, v1::PauseJobResponse>(
               &v1::JobService::Stub::PauseJob, [&](v1::PauseJobRequest& request) { request.set_job_id(job_id); })
        .status();
  }
  absl::Status Resume(const std::string& job_id, uint64_t step = 0) {
    return Call<v1::ResumeJobRequest, v1::ResumeJobResponse>(&v1::JobService::Stub::ResumeJob,
                                                             [&](v1::ResumeJobRequest& request) {
                                                               request.set_job_id(job_id);
                                                               request.set_step(step);
                                                             })
        .status();
  }
  absl::StatusOr<v1::Checkpoint> Create(const std::string& job_id) {
    ASSIGN_OR_RETURN(const v1::CreateCheckpointResponse response,
                     (Call<v1::CreateCheckpointRequest, v1::CreateCheckpointResponse>(
                         &v1::JobService::Stub::CreateCheckpoint,
                         [&](v1::CreateCheckpointRequest& request) { request.set_job_id(job_id); })));
    return response.checkpoint();
  }
  absl::StatusOr<std::vector<v1::Checkpoint>> List(const std::string& job_id) {
    ASSIGN_OR_RETURN(const v1::ListCheckpointsResponse response,
                     (Call<v1::ListCheckpointsRequest, v1::ListCheckpointsResponse>(
                         &v1::JobService::Stub::ListCheckpoints,
                         [&](v1::ListCheckpointsRequest& request) { request.set_job_id(job_id); })));
    return std::vector<v1::Checkpoint>(response.checkpoints().begin(), response.checkpoints().end());
  }
  // Waits until the job's checkpoints are as `settled` wants them.
  absl::Status AwaitCheckpoints(const std::string& job_id,
                                const std::function<bool(const std::vector<v1::Checkpoint>&)>& settled) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (true) {
      ASSIGN_OR_RETURN(const std::vector<v1::Checkpoint> list, List(job_id));
      if (settled(list)) return absl::OkStatus();
      if (absl::Now() > deadline) {
        return absl::DeadlineExceededError(
            list.empty() ? "no checkpoints" : absl::StrCat(list.size(), "; ", list.back().ShortDebugString()));
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  absl::Status AwaitCommitted(const std::string& job_id, size_t count) {
    return AwaitCheckpoints(job_id, [count](const std::vector<v1::Checkpoint>& list) {
      return static_cast<size_t>(std::count_if(list.begin(), list.end(), [](const v1::Checkpoint& c) {
               return c.state() == v1::CHECKPOINT_STATE_COMMITTED;
             })) >= count;
    });
  }
  std::vector<std::string> Events(const std::string& job_id) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    std::vector<std::string> reasons;
    const auto reader = cluster_->jobs().WatchJob(&context, request);
    v1::WatchJobResponse update;
    while (reader->Read(&update)) {
      if (update.has_event()) reasons.push_back(update.event().reason());
    }
    return reasons;
  }
  std::string ReferenceHash(const v1::JobSpec& spec) {
    absl::StatusOr<LocalResult> reference = TrainLocally(spec);
    EXPECT_OK(reference);
    return reference.ok() ? reference->weights_sha256 : "";
  }
  // Starts the job, and pauses it when it has done some steps.
  absl::StatusOr<v1::Job> RunAndPause(const v1::JobSpec& spec, uint64_t steps) {
    ASSIGN_OR_RETURN(const v1::Job job, cluster_->Submit(spec));
    RETURN_IF_ERROR(cluster_->AwaitStep(job.job_id(), steps));
    RETURN_IF_ERROR(Pause(job.job_id()));
    return cluster_->AwaitState(job.job_id(), v1::JOB_STATE_PAUSED);
  }

  std::unique_ptr<InProcessCluster> cluster_;
  v1::JobSpec spec_;
};

TEST_F(CheckpointTest, PausedAndResumedTwiceItEndsWithTheSameBits) {
  ASSERT_OK_AND_ASSIGN(const v1::Job paused, RunAndPause(spec_, 20));
  ASSERT_LT(paused.progress().step(), kSteps);
  ASSERT_OK(Resume(paused.job_id()));
  ASSERT_OK(cluster_->AwaitStep(paused.job_id(), paused.progress().step() + 20));
  ASSERT_OK(Pause(paused.job_id()));
  ASSERT_OK(cluster_->AwaitState(paused.job_id(), v1::JOB_STATE_PAUSED).status());
  ASSERT_OK(Resume(paused.job_id()));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->AwaitState(paused.job_id(), v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(job.generation(), 3u);
  EXPECT_EQ(job.progress().step(), kSteps);
  EXPECT_EQ(job.final_weights_sha256(), ReferenceHash(spec_));
}

TEST_F(CheckpointTest, AnotherJobGoesOnWithThreeServersAndOneWorker) {
  ASSERT_OK_AND_ASSIGN(const v1::Job paused, RunAndPause(spec_, 30));
  v1::JobSpec spec = spec_;
  spec.mutable_resources()->set_servers(3);
  spec.mutable_resources()->set_workers(1);
  const auto submit = [&](const std::string& from) {
    return Call<v1::SubmitJobRequest, v1::SubmitJobResponse>(&v1::JobService::Stub::SubmitJob,
                                                             [&](v1::SubmitJobRequest& request) {
                                                               *request.mutable_spec() = spec;
                                                               request.set_restore_from(from);
                                                             });
  };
  EXPECT_THAT(submit("not/absolute"), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_RESTORE_FROM"));
  ASSERT_OK_AND_ASSIGN(const v1::SubmitJobResponse submitted,
                       submit(absl::StrCat(cluster_->directory(), "/output/", paused.job_id())));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->AwaitState(submitted.job().job_id(), v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(job.final_weights_sha256(), ReferenceHash(spec));
  EXPECT_THAT(Events(job.job_id()), Contains("RESTORING"));
  // Of another model: refused, and said why.
  spec.mutable_model()->mutable_gpt2()->set_layers(1);
  ASSERT_OK_AND_ASSIGN(const v1::SubmitJobResponse other,
                       submit(absl::StrCat(cluster_->directory(), "/output/", paused.job_id())));
  ASSERT_OK_AND_ASSIGN(const v1::Job failed, cluster_->AwaitState(other.job().job_id(), v1::JOB_STATE_FAILED));
  EXPECT_EQ(failed.reason(), "CHECKPOINT_MISMATCH") << failed.message();
}

TEST_F(CheckpointTest, AfterTheLossOfAServerItGoesOnOnOthers) {
  spec_.mutable_checkpoint()->set_every_steps(10);
  spec_.mutable_checkpoint()->set_keep(2);
  ASSERT_OK_AND_ASSIGN(const v1::Job submitted, cluster_->Submit(spec_));
  ASSERT_OK(AwaitCommitted(submitted.job_id(), 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job running, cluster_->Get(submitted.job_id()));
  ASSERT_EQ(running.state(), v1::JOB_STATE_RUNNING);
  cluster_->StopServer(running.placement().servers(1).node_id().back() - '0');
  ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->AwaitState(submitted.job_id(), v1::JOB_STATE_SUCCEEDED));
  EXPECT_THAT(Events(job.job_id()), IsSupersetOf({"SERVER_LOST", "RECOVERING", "RESTORING"}));
  EXPECT_EQ(job.final_weights_sha256(), ReferenceHash(spec_));
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::Checkpoint> list, List(job.job_id()));
  EXPECT_LE(list.size(), 2u);
}

TEST_F(CheckpointTest, ADamagedCheckpointIsSkippedForTheOneBefore) {
  spec_.mutable_checkpoint()->set_every_steps(10);
  ASSERT_OK_AND_ASSIGN(const v1::Job submitted, cluster_->Submit(spec_));
  ASSERT_OK(AwaitCommitted(submitted.job_id(), 1));
  ASSERT_OK(Pause(submitted.job_id()));
  ASSERT_OK_AND_ASSIGN(const v1::Job paused, cluster_->AwaitState(submitted.job_id(), v1::JOB_STATE_PAUSED));
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::Checkpoint> list, List(paused.job_id()));
  ASSERT_GE(list.size(), 2u);
  const std::string path = list.back().directory() + "/server-1.1.shard";
  ASSERT_OK_AND_ASSIGN(std::string bytes, ReadFile(path, 1 << 26));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  ASSERT_OK(AtomicWriteFile(path, bytes));
  // Found when somebody looks,
  const auto verify = [&](uint64_t step) {
    return Call<v1::VerifyCheckpointRequest, v1::VerifyCheckpointResponse>(&v1::JobService::Stub::VerifyCheckpoint,
                                                                           [&](v1::VerifyCheckpointRequest& request) {
                                                                             request.set_job_id(paused.job_id());
                                                                             request.set_step(step);
                                                                           })
        .status();
  };
  ASSERT_OK(verify(0));
  ASSERT_OK(AwaitCheckpoints(paused.job_id(), [](const std::vector<v1::Checkpoint>& now) {
    return now.back().state() == v1::CHECKPOINT_STATE_CORRUPT &&
           absl::StrContains(now.back().message(), "server-1.1.shard: chunk ");
  }));
  ASSERT_OK(verify(list.front().step()));
  ASSERT_OK(AwaitCheckpoints(paused.job_id(),
                             [](const std::vector<v1::Checkpoint>& now) { return now.front().has_verify_time(); }));
  // and when the job goes on.
  ASSERT_OK(Resume(paused.job_id()));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->AwaitState(paused.job_id(), v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(job.final_weights_sha256(), ReferenceHash(spec_));
  EXPECT_THAT(Events(job.job_id()), Contains("CHECKPOINT_SKIPPED"));
}

TEST_F(CheckpointTest, CreatedOnRequestWhileItTrainsAndDeleted) {
  ASSERT_OK_AND_ASSIGN(const v1::Job submitted, cluster_->Submit(spec_));
  ASSERT_OK(cluster_->AwaitStep(submitted.job_id(), 5));
  ASSERT_OK(Create(submitted.job_id()).status());
  ASSERT_OK(AwaitCommitted(submitted.job_id(), 1));
  const auto remove = [&](uint64_t step, bool force) {
    return Call<v1::DeleteCheckpointRequest, v1::DeleteCheckpointResponse>(&v1::JobService::Stub::DeleteCheckpoint,
                                                                           [&](v1::DeleteCheckpointRequest& request) {
                                                                             request.set_job_id(submitted.job_id());
                                                                             request.set_step(step);
                                                                             request.set_force(force);
                                                                           })
        .status();
  };
  ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->AwaitState(submitted.job_id(), v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(job.final_weights_sha256(), ReferenceHash(spec_));
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::Checkpoint> list, List(job.job_id()));
  ASSERT_EQ(list.size(), 1u);
  const uint64_t step = list[0].step();
  EXPECT_THAT(remove(step + 1, false), StatusIs(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND"));
  EXPECT_THAT(remove(step, false), StatusIs(absl::StatusCode::kFailedPrecondition, "ONLY_CHECKPOINT"));
  ASSERT_OK(remove(step, true));
  ASSERT_OK(AwaitCheckpoints(job.job_id(), [](const std::vector<v1::Checkpoint>& now) { return now.empty(); }));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> left,
                       ListDirectory(absl::StrCat(job.output_directory(), "/checkpoints")));
  EXPECT_TRUE(left.empty());
  EXPECT_THAT(Create(job.job_id()), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_TRAINING"));
  EXPECT_THAT(Resume(job.job_id()), StatusIs(absl::StatusCode::kFailedPrecondition, "JOB_NOT_RESUMABLE"));
}

TEST_F(CheckpointTest, TheOtherModesGoOnToo) {
  for (v1::SyncMode mode : {v1::SYNC_MODE_SSP, v1::SYNC_MODE_ASYNC}) {
    SCOPED_TRACE(v1::SyncMode_Name(mode));
    v1::JobSpec spec = spec_;
    spec.mutable_sync()->set_mode(mode);
    spec.mutable_sync()->set_staleness(mode == v1::SYNC_MODE_SSP ? 2 : 0);
    spec.mutable_checkpoint()->set_every_steps(10);
    ASSERT_OK_AND_ASSIGN(const v1::Job paused, RunAndPause(spec, 20));
    ASSERT_OK(Resume(paused.job_id()));
    ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->AwaitState(paused.job_id(), v1::JOB_STATE_SUCCEEDED));
    EXPECT_EQ(job.progress().step(), kSteps);
    EXPECT_LT(job.progress().loss(), job.progress().first_loss());
    // From a checkpoint that was taken while it trained, where chunks are at different clocks.
    v1::JobSpec other = spec;
    other.mutable_resources()->set_workers(1);
    ASSERT_OK_AND_ASSIGN(const std::vector<v1::Checkpoint> list, List(job.job_id()));
    ASSERT_FALSE(list.empty());
    ASSERT_OK_AND_ASSIGN(const v1::SubmitJobResponse submitted,
                         (Call<v1::SubmitJobRequest, v1::SubmitJobResponse>(
                             &v1::JobService::Stub::SubmitJob, [&](v1::SubmitJobRequest& request) {
                               *request.mutable_spec() = other;
                               request.set_restore_from(list.front().directory());
                             })));
    ASSERT_OK(cluster_->AwaitState(submitted.job().job_id(), v1::JOB_STATE_SUCCEEDED).status());
  }
}

}  // namespace
}  // namespace paramd
