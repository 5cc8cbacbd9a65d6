// The daemon with a coordinator, which a test plays over the wire.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status_matchers.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/parameter.grpc.pb.h"
#include "server/server.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

// A service on a free port.
template <typename Service>
class Listening : public Service {
 public:
  Listening() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  void StopListening() { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Welcomes everybody and keeps the reports.
class FakeCoordinator final : public Listening<v1::ClusterService::Service> {
 public:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::DaemonMessage>;

  ~FakeCoordinator() override { StopListening(); }

  grpc::Status Session(grpc::ServerContext*, Stream* stream) override {
    v1::DaemonMessage message;
    while (stream->Read(&message)) {
      absl::MutexLock lock(&mutex_);
      Handle(message, stream);
    }
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    return grpc::Status::OK;
  }
  void Send(const v1::CoordinatorMessage& message) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &FakeCoordinator::Connected));
    stream_->Write(message);
  }
  // The next report for which `which` says yes; those before it are dropped.
  v1::JobReport Await(const std::function<bool(const v1::JobReport&)>& which) {
    while (true) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &FakeCoordinator::HasReports));
      const v1::JobReport report = reports_.front();
      reports_.erase(reports_.begin());
      EXPECT_FALSE(report.has_failed()) << report.failed().message();
      if (which(report)) return report;
    }
  }
  int failures() {
    absl::MutexLock lock(&mutex_);
    return failures_;
  }

 private:
  bool Connected() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stream_ != nullptr; }
  bool HasReports() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !reports_.empty(); }
  void Handle(const v1::DaemonMessage& message, Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    v1::CoordinatorMessage answer;
    if (message.has_register_()) {
      answer.mutable_welcome()->set_lease_ms(60000);
      answer.mutable_welcome()->set_heartbeat_ms(100);
      stream_ = stream;
    } else if (message.has_heartbeat()) {
      answer.mutable_heartbeat_ack()->set_sequence(message.heartbeat().sequence());
    } else if (message.has_report()) {
      reports_.push_back(message.report());
      failures_ += message.report().has_failed() ? 1 : 0;
      answer.mutable_report_ack()->set_number(message.report().number());
    } else {
      return;
    }
    stream->Write(answer);
  }

  absl::Mutex mutex_;
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::vector<v1::JobReport> reports_ ABSL_GUARDED_BY(mutex_);
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Another server of the job, which never has its chunks ready.
class UnavailableServer final : public Listening<v1::ParameterService::Service> {
 public:
  ~UnavailableServer() override { StopListening(); }

  grpc::Status FetchChunks(grpc::ServerContext*, const v1::FetchChunksRequest*,
                           grpc::ServerWriter<v1::FetchChunksResponse>*) override {
    ++fetches;
    return ToGrpcStatus(absl::UnavailableError("not now"));
  }

  std::atomic<int> fetches = 0;
};

class ServerSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    output_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    server_ = Start(coordinator_.address());
  }

  std::unique_ptr<ParameterServer> Start(const std::string& coordinator) const {
    auto server = ParameterServer::Start({.listen = "127.0.0.1:0",
                                          .metrics_listen = "127.0.0.1:0",
                                          .coordinator = coordinator,
                                          .threads = 2,
                                          .output_dir = output_});
    EXPECT_OK(server);
    return *std::move(server);
  }
  // In the placement, the first server is this one.
  void Prepare(v1::JobAssignment assignment) {
    assignment.mutable_placement()->mutable_servers(0)->set_address(absl::StrCat("127.0.0.1:", server_->port()));
    v1::CoordinatorMessage message;
    *message.mutable_prepare_server()->mutable_assignment() = assignment;
    coordinator_.Send(message);
    coordinator_.Await([](const v1::JobReport& report) { return report.has_prepared(); });
  }
  void SendSave(uint64_t generation) {
    v1::CoordinatorMessage message;
    message.mutable_save()->set_job_id("job-1");
    message.mutable_save()->set_generation(generation);
    coordinator_.Send(message);
  }
  v1::WeightsSaved Save(uint64_t generation) {
    SendSave(generation);
    return coordinator_.Await([](const v1::JobReport& report) { return report.has_saved(); }).saved();
  }
  static absl::Status ReduceNorm(const ParameterServer& server) {
    const auto stub =
        v1::ParameterService::NewStub(CreateChannel(absl::StrCat("127.0.0.1:", server.port()), ChannelOptions()));
    grpc::ClientContext context;
    PrepareCall({.timeout = absl::Seconds(20)}, context);
    v1::ReduceNormRequest request;
    request.set_job_id("unknown");
    v1::ReduceNormResponse response;
    return FromGrpcStatus(stub->ReduceNorm(&context, request, &response));
  }

  FakeCoordinator coordinator_;
  std::string output_;
  std::unique_ptr<ParameterServer> server_;
};

TEST_F(ServerSessionTest, AnUnknownJobIsRefusedForGoodOnceRegistered) {
  while (!server_->welcomed()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(ReduceNorm(*server_), StatusIs(absl::StatusCode::kNotFound, "JOB_NOT_FOUND"));
  const std::unique_ptr<ParameterServer> restarted = Start("127.0.0.1:1");
  EXPECT_THAT(ReduceNorm(*restarted), StatusIs(absl::StatusCode::kUnavailable, "JOB_NOT_READY"));
}

TEST_F(ServerSessionTest, ALaterLifeOfAJobIsSavedAnew) {
  v1::JobAssignment assignment = TestAssignment();
  Prepare(assignment);
  const v1::WeightsSaved saved = Save(kTestGeneration);
  ASSERT_TRUE(std::filesystem::exists(saved.directory() + "/model.safetensors"));
  std::filesystem::remove_all(saved.directory());
  EXPECT_EQ(Save(kTestGeneration).sha256(), saved.sha256());
  EXPECT_FALSE(std::filesystem::exists(saved.directory())) << "asked again, and saved again";
  assignment.set_generation(kTestGeneration + 1);
  Prepare(assignment);
  Save(kTestGeneration + 1);
  EXPECT_TRUE(std::filesystem::exists(saved.directory() + "/model.safetensors"));
}

TEST_F(ServerSessionTest, AStoppingServerGivesUpASaveAndSaysNothing) {
  UnavailableServer other;
  v1::JobAssignment assignment = TestAssignment({.servers = 2});
  assignment.mutable_placement()->mutable_servers(1)->set_address(other.address());
  Prepare(assignment);
  SendSave(kTestGeneration);
  while (other.fetches < 2) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time start = absl::Now();
  server_->Stop("the test");
  EXPECT_LT(absl::Now() - start, absl::Seconds(20)) << "the fetches have a minute";
  EXPECT_EQ(coordinator_.failures(), 0);
  EXPECT_FALSE(std::filesystem::exists(output_ + "/job-1"));
}

}  // namespace
}  // namespace paramd
