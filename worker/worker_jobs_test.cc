#include "worker/worker_jobs.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/model/parameter_layout.h"
#include "common/rpc/error_status.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "worker/data/test_files.h"
#include "worker/parameter_client/fake_parameter_service.h"
#include "worker/train/toy_program.h"

namespace paramd {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint32_t kSteps = 6;

v1::JobSpec TestSpec(const std::string& text) {
  v1::JobSpec spec;
  spec.set_name("toy");
  spec.set_seed(3);
  v1::Gpt2Model& model = *spec.mutable_model()->mutable_gpt2();
  model.set_layers(1);
  model.set_heads(1);
  model.set_hidden(8);
  model.set_context(8);
  model.set_vocab_size(256);
  model.set_ffn_hidden(32);
  spec.mutable_data()->mutable_text()->add_files(text);
  spec.mutable_data()->mutable_text()->set_validation_fraction(0.2f);
  v1::TrainingSpec& training = *spec.mutable_training();
  training.set_steps(kSteps);
  training.set_slots(2);
  training.set_micro_batch(2);
  training.set_report_every(1);
  training.mutable_sample()->set_prompt("a");
  training.mutable_sample()->set_tokens(4);
  training.mutable_sample()->set_temperature(0);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_resources()->set_workers(1);
  spec.mutable_resources()->set_chunk_elements(1024);
  return spec;
}

// A worker's jobs with a toy model, and one fake server.
class WorkerJobsTest : public testing::Test {
 protected:
  WorkerJobsTest()
      : spec_(TestSpec(WriteTestFile("text", std::string(400, 'x')))),
        plan_(ArenaPlan::Create(ParameterLayout(spec_.model()).value(), 1024).value()),
        service_(plan_, {.slots = 2, .workers = 1}),
        metrics_(registry_, "cpu") {
    service_.Start();
    jobs_ = std::make_unique<WorkerJobs>(
        WorkerJobEnvironment{.incarnation = 9,
                             .compile = [this](const v1::ModelSpec& model, const ArenaPlan& plan,
                                               int64_t batch_size) -> absl::StatusOr<CompiledModel> {
                               if (!compile_error_.ok()) return compile_error_;
                               auto program = std::make_unique<ToyProgram>(plan);
                               program->set_on_pass(on_pass_);
                               return CompiledModel{.program = std::move(program)};
                             },
                             .metrics = metrics_,
                             .report =
                                 [this](v1::JobReport report) {
                                   absl::MutexLock lock(&mutex_);
                                   reports_.push_back(std::move(report));
                                 },
                             .connect_timeout = absl::Milliseconds(500)},
        /*capacity=*/1);
  }

  v1::CoordinatorMessage PrepareCommand(const std::string& job_id = "job-1", uint64_t generation = 1) const {
    v1::CoordinatorMessage message;
    v1::JobAssignment& assignment = *message.mutable_prepare_worker()->mutable_assignment();
    assignment.set_job_id(job_id);
    assignment.set_generation(generation);
    *assignment.mutable_spec() = spec_;
    *assignment.mutable_placement() = service_.placement();
    assignment.mutable_placement()->mutable_workers(0)->set_slot_count(2);
    return message;
  }
  void Start(uint64_t generation = 1) {
    v1::CoordinatorMessage message;
    message.mutable_start()->set_job_id("job-1");
    message.mutable_start()->set_generation(generation);
    jobs_->OnCommand(message);
  }
  void CollectTrace(uint64_t trace, uint32_t steps) {
    v1::CoordinatorMessage message;
    message.mutable_collect_trace()->set_job_id("job-1");
    message.mutable_collect_trace()->set_generation(1);
    message.mutable_collect_trace()->set_trace(trace);
    message.mutable_collect_trace()->set_steps(steps);
    jobs_->OnCommand(message);
  }
  void Release(const std::string& job_id = "job-1", uint64_t generation = 1) {
    v1::CoordinatorMessage message;
    message.mutable_release()->set_job_id(job_id);
    message.mutable_release()->set_generation(generation);
    jobs_->OnCommand(message);
  }

  // The first report that `wanted` accepts; waits for it.
  v1::JobReport WaitFor(const std::function<bool(const v1::JobReport&)>& wanted) {
    v1::JobReport found;
    const auto there = [&]() {
      for (const v1::JobReport& report : reports_) {
        if (!wanted(report)) continue;
        found = report;
        return true;
      }
      return false;
    };
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(30)));
    return found;
  }
  v1::JobReport WaitFor(v1::JobReport::ReportCase kind) {
    return WaitFor([kind](const v1::JobReport& report) { return report.report_case() == kind; });
  }
  absl::Status WaitForFailure() { return FromRpcStatus(WaitFor(v1::JobReport::kFailed).failed()); }
  int Count(v1::JobReport::ReportCase kind) {
    absl::MutexLock lock(&mutex_);
    return static_cast<int>(
        std::count_if(reports_.begin(), reports_.end(), [&](const auto& r) { return r.report_case() == kind; }));
  }
  std::string MetricsText() { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  v1::JobSpec spec_;
  const ArenaPlan plan_;
  FakeParameterService service_;
  prometheus::Registry registry_;
  WorkerMetrics metrics_;
  absl::Status compile_error_;
  std::function<void(const RunKey&)> on_pass_;
  absl::Mutex mutex_;
  std::vector<v1::JobReport> reports_;
  std::unique_ptr<WorkerJobs> jobs_;
};

TEST_F(WorkerJobsTest, LifeOfAJob) {
  jobs_->OnCommand(PrepareCommand());
  const v1::JobReport prepared = WaitFor(v1::JobReport::kPrepared);
  EXPECT_EQ(prepared.job_id(), "job-1");
  EXPECT_EQ(prepared.generation(), 1u);
  EXPECT_GE(prepared.prepared().memory_bytes(), static_cast<uint64_t>(plan_.arena_elements()) * 8);
  ASSERT_EQ(jobs_->HeldJobs().size(), 1u);
  EXPECT_EQ(jobs_->HeldJobs()[0].job_id(), "job-1");
  Start();
  const v1::JobReport finished = WaitFor(v1::JobReport::kFinished);
  EXPECT_EQ(finished.finished().step(), kSteps);
  EXPECT_EQ(finished.finished().sample_text(), "bcde");
  EXPECT_EQ(service_.version(0), kSteps);
  EXPECT_EQ(Count(v1::JobReport::kProgress), static_cast<int>(kSteps));
  EXPECT_EQ(Count(v1::JobReport::kEvaluation), 1);
  EXPECT_THAT(MetricsText(), HasSubstr("paramd_worker_steps_total{train_job=\"job-1\"} 6\n"));
  EXPECT_THAT(MetricsText(), HasSubstr("paramd_worker_jobs 1\n"));
  Release();
  WaitFor(v1::JobReport::kReleased);
  EXPECT_TRUE(jobs_->HeldJobs().empty());
  EXPECT_THAT(MetricsText(), Not(HasSubstr("paramd_worker_streams{train_job")));
  EXPECT_THAT(MetricsText(), HasSubstr("paramd_worker_steps_total{train_job=\"job-1\"} 6\n"));  // To be scraped.
  EXPECT_EQ(Count(v1::JobReport::kFailed), 0);
}

// A server on this host, and memory to share with it or not.
TEST_F(WorkerJobsTest, ArenasAreSharedWithAServerOnThisHost) {
  for (bool memory : {true, false}) {
    FakeParameterService local(
        plan_,
        {.slots = 2, .workers = 1, .local_socket = absl::StrCat("/tmp/paramd-jobs-test-", getpid(), "-", memory)});
    local.Start();
    v1::CoordinatorMessage command = PrepareCommand();
    v1::Placement& placement = *command.mutable_prepare_worker()->mutable_assignment()->mutable_placement();
    *placement.mutable_servers() = local.placement().servers();
    rlimit limit;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlimit small = limit;
    small.rlim_cur = 64 * 1024;  // Less than the arenas: no segment can be made.
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, memory ? &limit : &small), 0);
    jobs_->OnCommand(command);
    WaitFor(v1::JobReport::kPrepared);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    Start();
    WaitFor(v1::JobReport::kFinished);
    EXPECT_EQ(local.version(0), kSteps);
    const int pushes = static_cast<int>(kSteps) * plan_.chunk_count();
    EXPECT_EQ(local.shared_memory_use().pushes, memory ? pushes : 0);
    EXPECT_EQ(local.shared_memory_use().pulls, memory ? pushes + plan_.chunk_count() : 0);
    EXPECT_THAT(MetricsText(), HasSubstr(absl::StrCat("paramd_worker_streams{train_job=\"job-1\",transport=\"",
                                                      memory ? "shared_memory" : "unix", "\"} ",
                                                      DataPlaneOptions().streams_per_server, "\n")));
    Release();
    WaitFor(v1::JobReport::kReleased);
    absl::MutexLock lock(&mutex_);
    reports_.clear();
  }
}

TEST_F(WorkerJobsTest, TracesTheNextSteps) {
  on_pass_ = [this](const RunKey& key) {
    if (key.slot != 0) return;
    if (key.step == 1) CollectTrace(7, 2);
    if (key.step == 5) CollectTrace(8, 3);  // The last step: none comes.
  };
  jobs_->OnCommand(PrepareCommand());
  WaitFor(v1::JobReport::kPrepared);
  Start();
  const v1::JobReport report = WaitFor([](const auto& r) { return r.trace().trace() == 7; });
  EXPECT_EQ(report.job_id(), "job-1");
  EXPECT_EQ(report.generation(), 1u);
  EXPECT_FALSE(report.trace().truncated());
  std::map<std::string, int> spans;
  for (const v1::TraceSpan& span : report.trace().spans()) {
    EXPECT_TRUE(span.step() == 2 || span.step() == 3) << span.ShortDebugString();
    EXPECT_EQ(span.has_chunk(),
              span.lane() == "wire" || span.name() == "wait" || span.name() == "sum" || span.name() == "send")
        << span.ShortDebugString();
    ++spans[absl::StrCat(span.lane(), " ", span.name())];
  }
  EXPECT_EQ(spans["compute data"], 2 * 2);
  EXPECT_GE(spans["compute forward"], 2 * 2);
  EXPECT_GE(spans["compute backward"], 2 * 2);
  EXPECT_EQ(spans["wire push"], 2 * plan_.chunk_count());
  EXPECT_EQ(spans["wire pull"], 2 * plan_.chunk_count());
  WaitFor(v1::JobReport::kFinished);
  EXPECT_EQ(Count(v1::JobReport::kTrace), 2);
  const v1::JobReport last = WaitFor([](const auto& r) { return r.has_finished() || r.trace().trace() == 8; });
  EXPECT_EQ(last.trace().trace(), 8u) << "before the end of training is reported";
  EXPECT_EQ(last.trace().spans_size(), 0);
}

TEST_F(WorkerJobsTest, ATraceOfAJobThatIsNotHeldIsEmpty) {
  CollectTrace(5, 1);
  const v1::JobReport report = WaitFor(v1::JobReport::kTrace);
  EXPECT_EQ(report.job_id(), "job-1");
  EXPECT_EQ(report.trace().trace(), 5u);
  EXPECT_EQ(report.trace().spans_size(), 0);
}

TEST_F(WorkerJobsTest, PreparationFailuresAreTyped) {
  struct Case {
    std::function<void(v1::PrepareWorker&)> change;
    absl::Status compile_error;
    absl::StatusCode code;
    std::string reason;
  };
  const std::string empty = WriteTestFile("empty", "");
  const std::vector<Case> cases = {
      {[](auto& p) {
         p.mutable_assignment()->mutable_spec()->mutable_data()->mutable_text()->set_files(0, "/nowhere");
       },
       absl::OkStatus(), absl::StatusCode::kNotFound, "DATA_NOT_FOUND"},
      {[&](auto& p) { p.mutable_assignment()->mutable_spec()->mutable_data()->mutable_text()->set_files(0, empty); },
       absl::OkStatus(), absl::StatusCode::kInvalidArgument, "DATA_INVALID"},
      {[](auto& p) {}, absl::InvalidArgumentError("no such op"), absl::StatusCode::kInvalidArgument, "MODEL_INVALID"},
      {[](auto& p) { p.mutable_assignment()->mutable_spec()->mutable_model()->mutable_gpt2()->set_heads(3); },
       absl::OkStatus(), absl::StatusCode::kInvalidArgument, "INVALID_SPEC"},
      {[](auto& p) { p.mutable_assignment()->clear_spec(); }, absl::OkStatus(), absl::StatusCode::kInvalidArgument,
       "INVALID_SPEC"},
      {[](auto& p) { p.set_worker_index(1); }, absl::OkStatus(), absl::StatusCode::kInvalidArgument,
       "INVALID_PLACEMENT"},
      {[](auto& p) { p.mutable_assignment()->mutable_placement()->mutable_workers(0)->set_slot_count(3); },
       absl::OkStatus(), absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT"},
      {[](auto& p) { p.mutable_assignment()->mutable_placement()->mutable_workers(0)->set_slot_count(0); },
       absl::OkStatus(), absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT"},
      {[](auto& p) { p.mutable_assignment()->mutable_placement()->add_chunk_server(0); }, absl::OkStatus(),
       absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT"},
      {[](auto& p) { p.mutable_assignment()->mutable_placement()->mutable_servers(0)->set_address("127.0.0.1:1"); },
       absl::OkStatus(), absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE"},
  };
  for (const Case& c : cases) {
    v1::CoordinatorMessage command = PrepareCommand();
    c.change(*command.mutable_prepare_worker());
    compile_error_ = c.compile_error;
    jobs_->OnCommand(command);
    EXPECT_THAT(WaitForFailure(), StatusIs(c.code, c.reason));
    Release();
    WaitFor(v1::JobReport::kReleased);
    absl::MutexLock lock(&mutex_);
    reports_.clear();
  }
}

TEST_F(WorkerJobsTest, FailureWhileTrainingIsReportedOnceAndTheJobWaitsForItsRelease) {
  service_.SetFault(
      [](const v1::ParameterRequest& request) { return request.step() == 2 ? Fault::kForeign : Fault::kNone; });
  jobs_->OnCommand(PrepareCommand());
  Start();
  EXPECT_THAT(WaitForFailure(), StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
  EXPECT_EQ(jobs_->HeldJobs().size(), 1u);
  Release();
  WaitFor(v1::JobReport::kReleased);
  EXPECT_EQ(Count(v1::JobReport::kFailed), 1);
  EXPECT_EQ(Count(v1::JobReport::kFinished), 0);
}

TEST_F(WorkerJobsTest, ReleaseEndsATrainingThatHangs) {
  service_.SetFault([](const v1::ParameterRequest& request) {
    return request.operation() == v1::OPERATION_PULL ? Fault::kNone : Fault::kIgnore;
  });
  jobs_->OnCommand(PrepareCommand());
  Start();
  while (service_.seen().size() < static_cast<size_t>(plan_.chunk_count()) + 1) absl::SleepFor(absl::Milliseconds(1));
  Release();
  WaitFor(v1::JobReport::kReleased);
  EXPECT_EQ(Count(v1::JobReport::kFailed), 0);
}

TEST_F(WorkerJobsTest, RepeatedCommandsAreHarmlessAndStaleOnesIgnored) {
  jobs_->OnCommand(PrepareCommand());
  WaitFor(v1::JobReport::kPrepared);
  jobs_->OnCommand(PrepareCommand());  // Again: told again.
  EXPECT_EQ(Count(v1::JobReport::kPrepared), 2);
  jobs_->OnCommand(PrepareCommand("job-1", 0));
  Start(/*generation=*/0);
  Release("job-1", 0);
  EXPECT_EQ(jobs_->HeldJobs().size(), 1u);
  EXPECT_EQ(Count(v1::JobReport::kReleased), 0);
  Start();
  Start();
  WaitFor(v1::JobReport::kFinished);
  Release("unknown");
  EXPECT_EQ(WaitFor(v1::JobReport::kReleased).job_id(), "unknown");
}

TEST_F(WorkerJobsTest, NewerGenerationReplacesTheJob) {
  jobs_->OnCommand(PrepareCommand());
  WaitFor(v1::JobReport::kPrepared);
  jobs_->OnCommand(PrepareCommand("job-1", 2));
  WaitFor([](const v1::JobReport& report) { return report.has_prepared() && report.generation() == 2; });
  ASSERT_EQ(jobs_->HeldJobs().size(), 1u);
  EXPECT_EQ(jobs_->HeldJobs()[0].generation(), 2u);
  EXPECT_EQ(Count(v1::JobReport::kReleased), 0);
}

TEST_F(WorkerJobsTest, JobBeyondCapacityIsRefused) {
  jobs_->OnCommand(PrepareCommand());
  jobs_->OnCommand(PrepareCommand("job-2"));
  const v1::JobReport refused = WaitFor(v1::JobReport::kFailed);
  EXPECT_EQ(refused.job_id(), "job-2");
  EXPECT_THAT(FromRpcStatus(refused.failed()), StatusIs(absl::StatusCode::kResourceExhausted, "WORKER_FULL"));
}

TEST_F(WorkerJobsTest, StopsAtTheAgreedStep) {
  std::atomic<uint64_t> step = 0;
  on_pass_ = [&](const RunKey& key) {
    step = key.step;
    if (key.step == 2) absl::SleepFor(absl::Milliseconds(50));
  };
  jobs_->OnCommand(PrepareCommand());
  Start();
  while (step < 2) absl::SleepFor(absl::Milliseconds(1));
  v1::CoordinatorMessage stop;
  stop.mutable_stop_request()->set_job_id("job-1");
  stop.mutable_stop_request()->set_generation(1);
  jobs_->OnCommand(stop);
  const uint64_t point = WaitFor(v1::JobReport::kStopPoint).stop_point().step();
  ASSERT_GE(point, 3u);
  ASSERT_LT(point, kSteps);
  v1::CoordinatorMessage stop_at;
  stop_at.mutable_stop_at()->set_job_id("job-1");
  stop_at.mutable_stop_at()->set_generation(1);
  stop_at.mutable_stop_at()->set_step(point + 1);
  jobs_->OnCommand(stop_at);
  const v1::JobReport finished = WaitFor(v1::JobReport::kFinished);
  EXPECT_EQ(finished.finished().step(), point + 1);
  EXPECT_EQ(service_.version(0), point + 1);
  EXPECT_EQ(finished.finished().sample_text(), point + 1 < kSteps ? "" : "bcde");
}

TEST_F(WorkerJobsTest, LostLeaseDropsEverythingSilently) {
  jobs_->OnCommand(PrepareCommand());
  WaitFor(v1::JobReport::kPrepared);
  jobs_->DropAll(absl::AbortedError("lease lost"));
  EXPECT_TRUE(jobs_->HeldJobs().empty());
  jobs_->Stop(absl::CancelledError("over"));  // Joins.
  EXPECT_EQ(Count(v1::JobReport::kReleased), 0);
  EXPECT_EQ(Count(v1::JobReport::kFailed), 0);
}

TEST_F(WorkerJobsTest, StopReportsOpenJobsAsFailed) {
  jobs_->OnCommand(PrepareCommand());
  WaitFor(v1::JobReport::kPrepared);
  jobs_->Stop(MakeError(absl::StatusCode::kUnavailable, "WORKER_STOPPED", "SIGTERM"));
  EXPECT_THAT(WaitForFailure(), StatusIs(absl::StatusCode::kUnavailable, "WORKER_STOPPED"));
  jobs_->OnCommand(PrepareCommand("job-2"));
  EXPECT_TRUE(jobs_->HeldJobs().empty());
}

}  // namespace
}  // namespace paramd
