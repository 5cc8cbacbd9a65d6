#include "worker/worker.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/config/job_spec.h"
#include "common/model/initialize.h"
#include "common/model/parameter_layout.h"
#include "common/rpc/error_status.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/inference.grpc.pb.h"
#include "worker/data/test_files.h"
#include "worker/parameter_client/fake_parameter_service.h"

namespace paramd {
namespace {

constexpr uint32_t kSteps = 4;

// A coordinator for one daemon: welcomes or refuses it, acknowledges, sends what the test says, records what comes.
class FakeCoordinator final : public v1::ClusterService::Service {
 public:
  FakeCoordinator() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeCoordinator() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void RefuseAll() {
    absl::MutexLock lock(&mutex_);
    refuse_ = true;
  }
  void Send(const v1::CoordinatorMessage& message) {
    absl::MutexLock lock(&mutex_);
    ASSERT_NE(stream_, nullptr);
    stream_->Write(message);
  }
  // The first message that `wanted` accepts; waits for it.
  v1::DaemonMessage WaitFor(const std::function<bool(const v1::DaemonMessage&)>& wanted) {
    v1::DaemonMessage found;
    const auto there = [&]() {
      for (const v1::DaemonMessage& message : seen_) {
        if (wanted(message)) found = message;
        if (wanted(message)) return true;
      }
      return false;
    };
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(40)));
    return found;
  }
  v1::JobReport WaitForReport(v1::JobReport::ReportCase kind) {
    return WaitFor([kind](const v1::DaemonMessage& m) { return m.report().report_case() == kind; }).report();
  }

  grpc::Status Session(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::DaemonMessage>* stream) override {
    v1::DaemonMessage message;
    while (stream->Read(&message)) {
      absl::MutexLock lock(&mutex_);
      seen_.push_back(message);
      v1::CoordinatorMessage answer;
      if (message.has_register_()) {
        stream_ = stream;
        if (refuse_) {
          *answer.mutable_refused() = ToRpcStatus(
              MakeError(absl::StatusCode::kFailedPrecondition, "CLIENT_TOO_OLD", "protocol 1 is not spoken here"));
        } else {
          answer.mutable_welcome()->set_lease_ms(20000);
          answer.mutable_welcome()->set_heartbeat_ms(1000);
        }
      } else if (message.has_heartbeat()) {
        answer.mutable_heartbeat_ack()->set_sequence(message.heartbeat().sequence());
      } else if (message.report().number() > 0) {
        answer.mutable_report_ack()->set_number(message.report().number());
      } else {
        continue;
      }
      stream->Write(answer);
    }
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    return grpc::Status::OK;
  }

 private:
  int port_ = 0;
  absl::Mutex mutex_;
  bool refuse_ = false;
  std::vector<v1::DaemonMessage> seen_;
  grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::DaemonMessage>* stream_ = nullptr;
  std::unique_ptr<grpc::Server> server_;
};

WorkerOptions TestOptions(const FakeCoordinator& coordinator) {
  WorkerOptions options;
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "127.0.0.1:0";
  options.coordinator = coordinator.address();
  options.node_id = "worker-a";
  return options;
}

v1::JobSpec TestSpec() {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "the cat sat on the mat. ";
  v1::JobSpec spec;
  v1::Gpt2Model& model = *spec.mutable_model()->mutable_gpt2();
  model.set_layers(1);
  model.set_heads(2);
  model.set_hidden(16);
  model.set_context(16);
  model.set_dropout(0.1f);
  spec.mutable_data()->mutable_text()->add_files(WriteTestFile("text", text));
  spec.mutable_data()->mutable_text()->set_validation_fraction(0.1f);
  spec.mutable_training()->set_steps(kSteps);
  spec.mutable_training()->set_slots(2);
  spec.mutable_training()->set_micro_batch(2);
  spec.mutable_training()->set_evaluation_batches(2);
  spec.mutable_training()->mutable_sample()->set_tokens(5);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_resources()->set_chunk_elements(1024);
  EXPECT_OK(FillDefaultsAndValidate(spec));
  return spec;
}

TEST(WorkerTest, RegistersTrainsARealModelAndSaysGoodbye) {
  FakeCoordinator coordinator;
  const v1::JobSpec spec = TestSpec();
  const ArenaPlan plan = ArenaPlan::Create(ParameterLayout(spec.model()).value(), 1024).value();
  FakeParameterService server(plan, {.slots = 2, .workers = 1});
  std::vector<float> initial(plan.arena_elements());
  InitializeArenaRange(plan, spec.seed(), 0, absl::MakeSpan(initial));
  server.SetWeights(initial);
  server.Start();

  WorkerOptions options = TestOptions(coordinator);
  options.port_file = testing::TempDir() + "/ports";
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(options));
  ASSERT_OK_AND_ASSIGN(const std::string ports, ReadFile(options.port_file, 1000));
  EXPECT_EQ(ports, absl::StrCat("{\"port\":", worker->port(), ",\"metrics_port\":", worker->metrics_port(), "}\n"));

  const v1::Register registration =
      coordinator.WaitFor([](const v1::DaemonMessage& m) { return m.has_register_(); }).register_();
  EXPECT_EQ(registration.node_id(), "worker-a");
  EXPECT_EQ(registration.role(), v1::NODE_ROLE_WORKER);
  EXPECT_EQ(registration.address(), absl::StrCat("127.0.0.1:", worker->port()));
  EXPECT_EQ(registration.job_capacity(), 1u);
  EXPECT_GT(registration.incarnation(), 0u);
  EXPECT_EQ(registration.protocol(), 1u);
  while (!worker->welcomed()) absl::SleepFor(absl::Milliseconds(1));

  v1::CoordinatorMessage prepare;
  v1::JobAssignment& assignment = *prepare.mutable_prepare_worker()->mutable_assignment();
  assignment.set_job_id("job-1");
  assignment.set_generation(1);
  *assignment.mutable_spec() = spec;
  *assignment.mutable_placement() = server.placement();
  assignment.mutable_placement()->mutable_workers(0)->set_slot_count(2);
  coordinator.Send(prepare);
  coordinator.WaitForReport(v1::JobReport::kPrepared);
  v1::CoordinatorMessage start;
  start.mutable_start()->set_job_id("job-1");
  start.mutable_start()->set_generation(1);
  coordinator.Send(start);
  const v1::JobReport finished = coordinator.WaitForReport(v1::JobReport::kFinished);
  EXPECT_EQ(finished.finished().step(), kSteps);
  EXPECT_FALSE(finished.finished().sample_text().empty());
  const v1::Evaluation evaluation = coordinator.WaitForReport(v1::JobReport::kEvaluation).evaluation();
  EXPECT_EQ(evaluation.count(), 2u * 2 * 16);
  // An untrained byte model is near ln 256 = 5.55 nats; a few steps on repeated words bring it down.
  EXPECT_LT(evaluation.loss_sum() / static_cast<double>(evaluation.count()), 5.6);
  EXPECT_EQ(server.version(0), kSteps);

  worker->Stop("SIGTERM");
  coordinator.WaitFor([](const v1::DaemonMessage& m) { return m.goodbye().reason() == "SIGTERM"; });
  EXPECT_OK(worker->fatal());
}

TEST(WorkerTest, RefusedRegistrationIsFatal) {
  FakeCoordinator coordinator;
  coordinator.RefuseAll();
  absl::Notification fatal;
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(TestOptions(coordinator), [&] { fatal.Notify(); }));
  ASSERT_TRUE(fatal.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_THAT(worker->fatal(), StatusIs(absl::StatusCode::kFailedPrecondition, "CLIENT_TOO_OLD"));
  worker->Stop("refused");
}

TEST(WorkerTest, StopReportsTheOpenJob) {
  FakeCoordinator coordinator;
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(TestOptions(coordinator)));
  coordinator.WaitFor([](const v1::DaemonMessage& m) { return m.has_register_(); });
  v1::CoordinatorMessage prepare;
  prepare.mutable_prepare_worker()->mutable_assignment()->set_job_id("job-1");
  prepare.mutable_prepare_worker()->mutable_assignment()->set_generation(1);
  coordinator.Send(prepare);
  // An empty spec: told so, and still there at the end without a second failure.
  const v1::JobReport failed = coordinator.WaitForReport(v1::JobReport::kFailed);
  EXPECT_THAT(FromRpcStatus(failed.failed()), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SPEC"));
  worker->Stop("SIGTERM");
}

TEST(WorkerTest, ServesInferenceAndRefusesWhatItCannotListenOn) {
  FakeCoordinator coordinator;
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(TestOptions(coordinator)));
  auto stub = v1::InferenceService::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", worker->port()), grpc::InsecureChannelCredentials()));
  v1::GenerateRequest request;
  request.set_model_directory("/nowhere");
  request.set_max_tokens(1);
  grpc::ClientContext context;
  auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_THAT(FromGrpcStatus(reader->Finish()), StatusIs(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND"));

  WorkerOptions taken = TestOptions(coordinator);
  taken.listen = absl::StrCat("127.0.0.1:", worker->port());
  EXPECT_THAT(Worker::Start(taken), StatusIs(absl::StatusCode::kUnavailable));
  taken = TestOptions(coordinator);
  taken.threads = 0;
  EXPECT_THAT(Worker::Start(taken), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
  taken = TestOptions(coordinator);
  taken.port_file = "/nowhere/ports";
  EXPECT_FALSE(Worker::Start(taken).ok());
}

}  // namespace
}  // namespace paramd
