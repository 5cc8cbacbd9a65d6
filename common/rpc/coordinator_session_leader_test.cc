// A session with several coordinators: it finds the leader, leaves one that stands still, and is not taken in by one
// that was deposed.
#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/rpc/coordinator_session.h"
#include "common/rpc/error_status.h"
#include "common/rpc/server_runner.h"
#include "gtest/gtest.h"
#include "proto/cluster.grpc.pb.h"

namespace paramd {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// One of several coordinators, on a port of its own. What it does may be changed at any time.
class FakeCoordinator final : public v1::ClusterService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::DaemonMessage>;

  FakeCoordinator() {
    runner_ = std::make_unique<ServerRunner>(ServerRunnerOptions{.listen_address = "127.0.0.1:0"});
    runner_->AddService(this, "paramd.v1.ClusterService");
    EXPECT_TRUE(runner_->Start().ok());
  }
  ~FakeCoordinator() override { Stop(); }
  void Stop() { runner_->Drain(absl::ZeroDuration()); }
  std::string address() const { return absl::StrCat("127.0.0.1:", runner_->port()); }

  grpc::Status Session(grpc::ServerContext*, Stream* stream) override {
    ++sessions;
    if (!leads) {
      ErrorMetadata metadata;
      absl::MutexLock lock(&mutex_);
      if (!leader_.empty()) metadata["leader"] = leader_;
      return ToGrpcStatus(MakeError(absl::StatusCode::kUnavailable, "NOT_LEADER", "a standby", metadata));
    }
    v1::DaemonMessage message;
    while (stream->Read(&message)) {
      v1::CoordinatorMessage answer;
      if (message.has_register_()) {
        ++registrations;
        answer.mutable_welcome()->set_lease_ms(lease_ms);
        held_jobs = message.register_().held_jobs_size();
        answer.mutable_welcome()->set_heartbeat_ms(heartbeat_ms);
        answer.mutable_welcome()->set_term(term);
      } else if (message.has_heartbeat()) {
        answer.mutable_heartbeat_ack()->set_sequence(message.heartbeat().sequence());
      }
      if (!silent) stream->Write(answer);
      if (!leads) break;
    }
    return grpc::Status::OK;
  }
  void NameLeader(const std::string& address) {
    absl::MutexLock lock(&mutex_);
    leader_ = address;
  }

  std::atomic<bool> leads = false;
  std::atomic<bool> silent = false;
  std::atomic<uint64_t> term = 1;
  std::atomic<uint32_t> lease_ms = 60000;
  std::atomic<uint32_t> heartbeat_ms = 20;
  std::atomic<int> held_jobs = 0;  // In the newest registration.
  std::atomic<int> sessions = 0;
  std::atomic<int> registrations = 0;

 private:
  absl::Mutex mutex_;
  std::string leader_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ServerRunner> runner_;
};

class CountingHandler final : public CoordinatorSessionHandler {
 public:
  void OnCommand(const v1::CoordinatorMessage&) override {}
  void OnLeaseLost() override { ++losses; }
  void OnOrphaned() override { ++orphaned; }
  void OnWelcome() override { ++welcomes; }
  void OnRefused(const absl::Status&) override { ADD_FAILURE() << "refused"; }
  std::vector<v1::HeldJob> HeldJobs() override {
    if (losses > orphaned) ++told_without_lease;
    return std::vector<v1::HeldJob>(orphaned == 0 ? 1 : 0);
  }

  std::atomic<int> welcomes = 0;
  std::atomic<int> losses = 0;
  std::atomic<int> orphaned = 0;
  std::atomic<int> told_without_lease = 0;  // What is held, between a loss and OnOrphaned.
};

template <typename Condition>
bool Await(const Condition& condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (absl::Now() < deadline) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return false;
}

class CoordinatorSessionLeaderTest : public testing::Test {
 protected:
  void StartSession(const std::string& addresses, absl::Duration orphan_timeout = absl::ZeroDuration()) {
    CoordinatorSessionOptions options;
    options.orphan_timeout = orphan_timeout;
    options.coordinator_address = addresses;
    options.registration.set_node_id("worker-1");
    options.registration.set_incarnation(77);
    options.reconnect.initial_backoff = absl::Milliseconds(20);
    options.reconnect.max_backoff = absl::Milliseconds(200);
    session_ = std::make_unique<CoordinatorSession>(options, handler_);
    session_->Start();
  }
  std::string Both() const { return absl::StrCat(first_.address(), ",", second_.address()); }

  FakeCoordinator first_;
  FakeCoordinator second_;
  CountingHandler handler_;
  std::unique_ptr<CoordinatorSession> session_;
};

TEST_F(CoordinatorSessionLeaderTest, GoesFromAStandbyToTheNextOfTheList) {
  second_.leads = true;
  StartSession(Both());
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  EXPECT_EQ(first_.sessions, 1);
  EXPECT_EQ(second_.registrations, 1);
}

TEST_F(CoordinatorSessionLeaderTest, FollowsAStandbyToALeaderThatIsNotInTheList) {
  second_.leads = true;
  first_.NameLeader(second_.address());
  StartSession(first_.address());
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  EXPECT_EQ(second_.registrations, 1);
}

TEST_F(CoordinatorSessionLeaderTest, WaitsForOneToBeElected) {
  StartSession(absl::StrCat("127.0.0.1:1,", Both()));
  ASSERT_TRUE(Await([&] { return first_.sessions >= 2 && second_.sessions >= 2; }));
  first_.leads = true;
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
}

TEST_F(CoordinatorSessionLeaderTest, LeavesALeaderThatDiesWithoutLosingTheLease) {
  first_.leads = true;
  StartSession(Both());
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  second_.term = 2;
  second_.leads = true;
  first_.Stop();
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 2; }));
  EXPECT_EQ(handler_.losses, 0);
}

TEST_F(CoordinatorSessionLeaderTest, LeavesALeaderThatStandsStillWithoutLosingTheLease) {
  first_.leads = true;
  first_.lease_ms = 4000;
  StartSession(Both());
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  second_.term = 2;
  second_.leads = true;
  first_.silent = true;  // The connection stays.
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 2; }));
  EXPECT_EQ(second_.registrations, 1);
  EXPECT_EQ(handler_.losses, 0);
}

TEST_F(CoordinatorSessionLeaderTest, LeavesALeaderThatWasDeposed) {
  first_.leads = true;
  first_.term = 7;
  StartSession(Both());
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  second_.leads = true;
  second_.term = 6;  // A zombie: it has not noticed yet.
  first_.leads = false;
  ASSERT_TRUE(Await([&] { return second_.registrations >= 2; }));
  EXPECT_EQ(handler_.welcomes, 1);
  second_.term = 8;
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 2; }));
  EXPECT_EQ(handler_.losses, 0);
}

TEST_F(CoordinatorSessionLeaderTest, JobsAreDroppedBeforeTheNextCoordinatorIsAsked) {
  first_.leads = second_.leads = true;
  first_.lease_ms = 400;
  first_.heartbeat_ms = 350;  // Its silence shows when the lease is over, not before.
  StartSession(Both());
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  EXPECT_EQ(first_.held_jobs, 1);
  first_.silent = true;
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 2; }));
  EXPECT_EQ(second_.held_jobs, 0);
  EXPECT_EQ(handler_.losses, 1);
  EXPECT_EQ(handler_.orphaned, 1);
  EXPECT_EQ(handler_.told_without_lease, 0);
}

TEST_F(CoordinatorSessionLeaderTest, TakesAnyTermOnceNothingIsHeldAnyMore) {
  first_.leads = true;
  first_.term = 7;
  first_.lease_ms = 300;
  StartSession(Both(), absl::Seconds(1));
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 1; }));
  first_.leads = false;
  ASSERT_TRUE(Await([&] { return handler_.losses == 1; }));
  const int asked = second_.registrations;
  second_.term = 1;  // As after etcd's data were lost.
  second_.leads = true;
  ASSERT_TRUE(Await([&] { return second_.registrations > asked; }));
  EXPECT_EQ(handler_.welcomes, 1) << "its jobs are of term 7";
  ASSERT_TRUE(Await([&] { return handler_.welcomes == 2; }));
  EXPECT_EQ(handler_.orphaned, 1);
}

}  // namespace
}  // namespace paramd
