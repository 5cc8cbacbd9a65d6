#include "common/rpc/coordinator_session.h"

#include <functional>
#include <map>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/rpc/error_status.h"
#include "common/rpc/server_runner.h"
#include "gtest/gtest.h"
#include "proto/cluster.grpc.pb.h"

namespace paramd {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// A coordinator that keeps nothing but a record of what it was told.
class FakeCoordinator final : public v1::ClusterService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::DaemonMessage>;

  grpc::Status Session(grpc::ServerContext* context, Stream* stream) override {
    {
      absl::MutexLock lock(&mutex);
      ++streams;
      open[stream] = context;
    }
    v1::DaemonMessage message;
    while (stream->Read(&message)) {
      absl::MutexLock lock(&mutex);
      Handle(message, stream);
    }
    absl::MutexLock lock(&mutex);
    open.erase(stream);
    return grpc::Status::OK;
  }

  void Handle(const v1::DaemonMessage& message, Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    v1::CoordinatorMessage answer;
    if (message.has_register_()) {
      registrations.push_back(message.register_());
      if (!refusal.ok()) {
        *answer.mutable_refused() = ToRpcStatus(refusal);
      } else {
        answer.mutable_welcome()->set_lease_ms(lease_ms);
        answer.mutable_welcome()->set_heartbeat_ms(heartbeat_ms);
        answer.mutable_welcome()->set_coordinator_id("fake");
      }
      stream->Write(answer);
    } else if (message.has_heartbeat()) {
      heartbeats.push_back(message.heartbeat());
      answer.mutable_heartbeat_ack()->set_sequence(message.heartbeat().sequence());
      if (ack_heartbeats) stream->Write(answer);
    } else if (message.has_report()) {
      reports.push_back(message.report());
      answer.mutable_report_ack()->set_number(message.report().number());
      if (ack_reports && message.report().number() > 0) stream->Write(answer);
    } else if (message.has_goodbye()) {
      goodbyes.push_back(message.goodbye().reason());
      if (on_goodbye) on_goodbye();
    }
  }

  void Send(const v1::CoordinatorMessage& message) {
    absl::MutexLock lock(&mutex);
    for (auto& [stream, context] : open) stream->Write(message);
  }

  void DropStreams() {
    absl::MutexLock lock(&mutex);
    for (auto& [stream, context] : open) context->TryCancel();
  }

  std::string ReportNumbers() {
    absl::MutexLock lock(&mutex);
    return absl::StrJoin(reports, " ",
                         [](std::string* out, const v1::JobReport& report) { absl::StrAppend(out, report.number()); });
  }

  absl::Mutex mutex;
  uint32_t lease_ms ABSL_GUARDED_BY(mutex) = 60000;
  uint32_t heartbeat_ms ABSL_GUARDED_BY(mutex) = 20;
  bool ack_heartbeats ABSL_GUARDED_BY(mutex) = true;
  bool ack_reports ABSL_GUARDED_BY(mutex) = true;
  absl::Status refusal ABSL_GUARDED_BY(mutex);
  int streams ABSL_GUARDED_BY(mutex) = 0;
  std::map<Stream*, grpc::ServerContext*> open ABSL_GUARDED_BY(mutex);
  std::vector<v1::Register> registrations ABSL_GUARDED_BY(mutex);
  std::vector<v1::Heartbeat> heartbeats ABSL_GUARDED_BY(mutex);
  std::vector<v1::JobReport> reports ABSL_GUARDED_BY(mutex);
  std::vector<std::string> goodbyes ABSL_GUARDED_BY(mutex);
  std::function<void()> on_goodbye ABSL_GUARDED_BY(mutex);
};

class RecordingHandler final : public CoordinatorSessionHandler {
 public:
  void OnCommand(const v1::CoordinatorMessage& command) override {
    absl::MutexLock lock(&mutex);
    commands.push_back(command);
  }
  void OnLeaseLost() override {
    absl::MutexLock lock(&mutex);
    ++losses;
  }
  void OnOrphaned() override {
    absl::MutexLock lock(&mutex);
    ++orphaned;
    held.clear();
  }
  void OnWelcome() override {
    absl::MutexLock lock(&mutex);
    ++welcomes;
  }
  void OnRefused(const absl::Status& status) override {
    absl::MutexLock lock(&mutex);
    refusals.push_back(status);
  }
  std::vector<v1::HeldJob> HeldJobs() override {
    absl::MutexLock lock(&mutex);
    return held;
  }

  absl::Mutex mutex;
  std::vector<v1::CoordinatorMessage> commands ABSL_GUARDED_BY(mutex);
  std::vector<absl::Status> refusals ABSL_GUARDED_BY(mutex);
  std::vector<v1::HeldJob> held ABSL_GUARDED_BY(mutex);
  int welcomes ABSL_GUARDED_BY(mutex) = 0;
  int losses ABSL_GUARDED_BY(mutex) = 0;
  int orphaned ABSL_GUARDED_BY(mutex) = 0;
};

v1::JobReport Finished(uint64_t step) {
  v1::JobReport report;
  report.set_job_id("j");
  report.mutable_finished()->set_step(step);
  return report;
}

v1::JobReport Progress(uint64_t step) {
  v1::JobReport report;
  report.set_job_id("j");
  report.mutable_progress()->set_step(step);
  return report;
}

class CoordinatorSessionTest : public ::testing::Test {
 protected:
  ~CoordinatorSessionTest() override {
    session_.reset();
    StopCoordinator();
  }

  // On the port of before, if there was one.
  void StartCoordinator() {
    runner_ = std::make_unique<ServerRunner>(ServerRunnerOptions{.listen_address = absl::StrCat("127.0.0.1:", port_)});
    runner_->AddService(&coordinator_, "paramd.v1.ClusterService");
    const absl::Status status = runner_->Start();
    ASSERT_TRUE(status.ok()) << status;
    port_ = runner_->port();
  }
  void StopCoordinator() {
    if (runner_ != nullptr) runner_->Drain(absl::ZeroDuration());
    runner_.reset();
  }

  void StartSession(absl::Duration orphan_timeout = absl::ZeroDuration()) {
    CoordinatorSessionOptions options;
    options.orphan_timeout = orphan_timeout;
    options.coordinator_address = absl::StrCat("127.0.0.1:", port_);
    options.registration.set_node_id("worker-1");
    options.registration.set_incarnation(77);
    options.registration.set_protocol(1);
    options.reconnect.initial_backoff = absl::Milliseconds(20);
    options.reconnect.max_backoff = absl::Milliseconds(200);
    session_ = std::make_unique<CoordinatorSession>(options, handler_);
    session_->Start();
  }

  // Waits until a condition on the fakes holds; both are locked while it is looked at.
  template <typename Condition>
  bool Await(const Condition& condition) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (absl::Now() < deadline) {
      {
        absl::MutexLock coordinator_lock(&coordinator_.mutex);
        absl::MutexLock handler_lock(&handler_.mutex);
        if (condition()) return true;
      }
      absl::SleepFor(absl::Milliseconds(2));
    }
    return false;
  }
  bool AwaitWelcomes(int count) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return handler_.welcomes >= count; });
  }
  bool AwaitReports(size_t count) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return coordinator_.reports.size() >= count; });
  }

  int port_ = 0;
  FakeCoordinator coordinator_;
  RecordingHandler handler_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<CoordinatorSession> session_;
};

TEST_F(CoordinatorSessionTest, RegistersKeepsTheLeaseAndSaysGoodbye) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.lease_ms = 1000;  // Far shorter than the test if heartbeats did not renew it.
    coordinator_.heartbeat_ms = 50;
  }
  {
    absl::MutexLock lock(&handler_.mutex);
    handler_.held.emplace_back().set_job_id("held");
  }
  StartSession();
  session_->SetMemoryUsed(12345);
  ASSERT_TRUE(AwaitWelcomes(1));
  EXPECT_TRUE(session_->welcomed());
  ASSERT_TRUE(Await([&] { return coordinator_.heartbeats.size() >= 30; }));
  EXPECT_TRUE(session_->welcomed());
  session_->Stop("SIGTERM");
  EXPECT_FALSE(session_->welcomed());
  absl::MutexLock lock(&coordinator_.mutex);
  ASSERT_EQ(coordinator_.registrations.size(), 1u);
  EXPECT_EQ(coordinator_.registrations[0].node_id(), "worker-1");
  EXPECT_EQ(coordinator_.registrations[0].held_jobs(0).job_id(), "held");
  for (size_t i = 0; i < coordinator_.heartbeats.size(); ++i) EXPECT_EQ(coordinator_.heartbeats[i].sequence(), i + 1);
  EXPECT_EQ(coordinator_.heartbeats.back().memory_used_bytes(), 12345u);
  EXPECT_EQ(coordinator_.goodbyes, std::vector<std::string>{"SIGTERM"});
  absl::MutexLock handler_lock(&handler_.mutex);
  EXPECT_EQ(handler_.losses, 0);
}

TEST_F(CoordinatorSessionTest, DeliversCommandsInOrder) {
  StartCoordinator();
  StartSession();
  ASSERT_TRUE(AwaitWelcomes(1));
  for (uint64_t i = 0; i < 100; ++i) {
    v1::CoordinatorMessage message;
    message.mutable_stop_at()->set_step(i);
    coordinator_.Send(message);
  }
  ASSERT_TRUE(Await([&] { return handler_.commands.size() >= 100; }));
  absl::MutexLock lock(&handler_.mutex);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(handler_.commands[i].stop_at().step(), i);
}

TEST_F(CoordinatorSessionTest, SendsUnacknowledgedReportsAgain) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.ack_reports = false;
  }
  StartSession();
  ASSERT_TRUE(AwaitWelcomes(1));
  for (int i = 0; i < 3; ++i) session_->Report(Finished(i));
  session_->Report(Progress(9));
  ASSERT_TRUE(AwaitReports(4));
  EXPECT_EQ(coordinator_.ReportNumbers(), "1 2 3 0");
  v1::CoordinatorMessage ack;
  ack.mutable_report_ack()->set_number(1);
  coordinator_.Send(ack);
  v1::CoordinatorMessage marker;
  marker.mutable_start()->set_job_id("j");
  coordinator_.Send(marker);  // Handled after the acknowledgement.
  ASSERT_TRUE(Await([&] { return handler_.commands.size() == 1; }));

  coordinator_.DropStreams();
  ASSERT_TRUE(AwaitWelcomes(2));
  ASSERT_TRUE(AwaitReports(6));
  session_->Report(Finished(3));
  ASSERT_TRUE(AwaitReports(7));
  EXPECT_EQ(coordinator_.ReportNumbers(), "1 2 3 0 2 3 4");
  absl::MutexLock lock(&coordinator_.mutex);
  for (const auto& registration : coordinator_.registrations) EXPECT_EQ(registration.incarnation(), 77u);
  absl::MutexLock handler_lock(&handler_.mutex);
  EXPECT_EQ(handler_.losses, 0) << "a broken stream does not end the lease";
}

TEST_F(CoordinatorSessionTest, ReportsOfBeforeTheConnectionArriveMerged) {
  StartCoordinator();
  StopCoordinator();  // Only the port is known.
  StartSession();
  for (int step = 1; step <= 1000; ++step) session_->Report(Progress(step));
  session_->Report(Finished(1000));
  EXPECT_FALSE(session_->welcomed());
  StartCoordinator();
  ASSERT_TRUE(AwaitReports(2));
  EXPECT_EQ(coordinator_.ReportNumbers(), "0 1");
  absl::MutexLock lock(&coordinator_.mutex);
  EXPECT_EQ(coordinator_.reports[0].progress().step(), 1000u);
}

TEST_F(CoordinatorSessionTest, LeaseIsLostWhenAcknowledgementsStop) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.lease_ms = 400;
    coordinator_.heartbeat_ms = 40;
  }
  {
    absl::MutexLock lock(&handler_.mutex);
    handler_.held.emplace_back().set_job_id("held");
  }
  StartSession();
  ASSERT_TRUE(Await([&] { return coordinator_.heartbeats.size() >= 3; }));
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.ack_heartbeats = false;
  }
  ASSERT_TRUE(Await([&] { return handler_.losses == 1; }));
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.ack_heartbeats = true;
  }
  ASSERT_TRUE(AwaitWelcomes(2)) << "registers again";
  ASSERT_TRUE(Await([&] { return session_->welcomed(); }));
  absl::MutexLock lock(&coordinator_.mutex);
  EXPECT_EQ(coordinator_.registrations.back().held_jobs_size(), 0) << "jobs are dropped before the next registration";
}

TEST_F(CoordinatorSessionTest, LeaseIsLostWhileTheCoordinatorIsDown) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.lease_ms = 300;
  }
  StartSession();
  ASSERT_TRUE(AwaitWelcomes(1));
  StopCoordinator();
  ASSERT_TRUE(Await([&] { return handler_.losses == 1; }));
  EXPECT_FALSE(session_->welcomed());
  StartCoordinator();
  ASSERT_TRUE(AwaitWelcomes(2));
}

TEST_F(CoordinatorSessionTest, JobsAreKeptWithoutALeaseForAWhile) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.lease_ms = 300;
  }
  {
    absl::MutexLock lock(&handler_.mutex);
    handler_.held.emplace_back().set_job_id("held");
  }
  StartSession(absl::Minutes(1));
  EXPECT_FALSE(session_->lease_lost()) << "there was none";
  ASSERT_TRUE(AwaitWelcomes(1));
  EXPECT_FALSE(session_->lease_lost());
  StopCoordinator();
  ASSERT_TRUE(Await([&] { return handler_.losses == 1; }));
  EXPECT_TRUE(session_->lease_lost());
  StartCoordinator();
  ASSERT_TRUE(AwaitWelcomes(2));
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 2; }));
  EXPECT_FALSE(session_->lease_lost());
  EXPECT_TRUE(Await([&] { return handler_.orphaned == 0 && coordinator_.registrations.back().held_jobs_size() == 1; }));
}

TEST_F(CoordinatorSessionTest, RefusalIsFinal) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.refusal = MakeError(absl::StatusCode::kFailedPrecondition, "CLIENT_TOO_OLD", "protocol 1 is too old");
  }
  StartSession();
  ASSERT_TRUE(Await([&] { return handler_.refusals.size() == 1; }));
  absl::SleepFor(absl::Milliseconds(500));  // Time for a wrong second attempt.
  session_->Stop("done");
  {
    absl::MutexLock lock(&handler_.mutex);
    ASSERT_EQ(handler_.refusals.size(), 1u);
    EXPECT_EQ(handler_.refusals[0].code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ErrorReason(handler_.refusals[0]), "CLIENT_TOO_OLD");
    EXPECT_EQ(handler_.welcomes, 0);
  }
  absl::MutexLock lock(&coordinator_.mutex);
  EXPECT_EQ(coordinator_.streams, 1);
}

TEST_F(CoordinatorSessionTest, LeaseThatCannotBeKeptIsNotTaken) {
  StartCoordinator();
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.lease_ms = 0;
  }
  StartSession();
  ASSERT_TRUE(Await([&] { return coordinator_.registrations.size() >= 2; }));
  EXPECT_FALSE(session_->welcomed());
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.lease_ms = 60000;
  }
  ASSERT_TRUE(AwaitWelcomes(1));
}

TEST_F(CoordinatorSessionTest, StopIsPromptWithoutACoordinator) {
  StartCoordinator();
  StopCoordinator();
  StartSession();
  session_->Report(Finished(1));
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time start = absl::Now();
  session_->Stop("SIGTERM");
  EXPECT_LT(absl::Now() - start, absl::Seconds(3));
  session_->Stop("again");
}

TEST_F(CoordinatorSessionTest, StopBeforeStartAndWithoutIt) {
  CoordinatorSessionOptions options;
  options.coordinator_address = "127.0.0.1:1";
  CoordinatorSession session(options, handler_);
  session.Report(Finished(1));
  session.Stop("never started");
}

TEST_F(CoordinatorSessionTest, TheLeaseIsOverBeforeTheGoodbye) {
  StartCoordinator();
  StartSession();
  ASSERT_TRUE(AwaitWelcomes(1));
  ASSERT_TRUE(session_->leased());
  bool leased = true;
  {
    absl::MutexLock lock(&coordinator_.mutex);
    coordinator_.on_goodbye = [&] { leased = session_->leased(); };
  }
  session_->Stop("SIGTERM");
  absl::MutexLock lock(&coordinator_.mutex);
  ASSERT_EQ(coordinator_.goodbyes.size(), 1u);
  EXPECT_FALSE(leased);
}

TEST_F(CoordinatorSessionTest, StopSendsTheLastReports) {
  StartCoordinator();
  StartSession();
  ASSERT_TRUE(AwaitWelcomes(1));
  for (int i = 0; i < 50; ++i) session_->Report(Finished(i));
  session_->Stop("bye");
  absl::MutexLock lock(&coordinator_.mutex);
  EXPECT_EQ(coordinator_.reports.size(), 50u);
  EXPECT_EQ(coordinator_.goodbyes.size(), 1u);
}

}  // namespace
}  // namespace paramd
