#include "server/server_checkpoints.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/scoped_failpoints.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel_cache.h"
#include "gtest/gtest.h"
#include "server/checkpoint/checkpoint_directory.h"
#include "server/checkpoint/manifest.h"
#include "server/service/owner_threads.h"
#include "server/service/server_metrics.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

// The lead and only server of a job that has not begun to train: its checkpoints are all of step 0.
class ServerCheckpointsTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name(),
                              "/job-1/checkpoints");
    absl::Notification prepared;
    jobs_.Prepare(TestAssignment(), 0, [&](const absl::StatusOr<int64_t>& memory) {
      EXPECT_OK(memory);
      prepared.Notify();
    });
    prepared.WaitForNotification();
  }
  ~ServerCheckpointsTest() override {
    checkpoints_.Stop();
    jobs_.ReleaseAll("the test is over");
    threads_.Stop();
  }

  v1::CheckpointCommand Command(uint64_t number) const {
    v1::CheckpointCommand command;
    command.set_job_id("job-1");
    command.set_generation(kTestGeneration);
    command.set_number(number);
    command.set_directory(directory_);
    return command;
  }
  void Take(uint64_t number) {
    v1::CheckpointCommand command = Command(number);
    command.mutable_take();
    checkpoints_.OnCommand(command);
    absl::Notification captured;
    threads_.Post(0, [&] { captured.Notify(); });
    captured.WaitForNotification();
  }
  void Abandon(uint64_t number) {
    v1::CheckpointCommand command = Command(number);
    command.mutable_abandon();
    checkpoints_.OnCommand(command);
  }
  // Takes one and puts its manifest in place.
  void Complete(uint64_t number) {
    Take(number);
    Drain();
    ASSERT_EQ(reports().size(), 1u);
    v1::CheckpointCommand command = Command(number);
    *command.mutable_commit()->add_shards() = reports()[0].shard();
    command.mutable_commit()->set_servers(1);
    command.mutable_commit()->set_keep(3);
    checkpoints_.OnCommand(command);
    Drain();
    ASSERT_OK(Manifest());
    Clear();
  }
  // What the files' thread has to do waits until Resume.
  void Pause() {
    paused_ = std::make_shared<absl::Notification>();
    checkpoints_.Post([paused = paused_] { paused->WaitForNotification(); });
  }
  void Resume() {
    paused_->Notify();
    Drain();
  }
  void Drain() {
    absl::Notification drained;
    checkpoints_.Post([&] { drained.Notify(); });
    drained.WaitForNotification();
  }
  std::string Path() const { return CheckpointPath(directory_, 0); }
  absl::Status Manifest() const { return ReadManifest(Path()).status(); }
  // A part that another server has written.
  std::string WriteAnothersShard() const {
    std::filesystem::create_directories(Path());
    const std::string path = ShardPath(Path(), 1, kTestGeneration);
    std::ofstream(path) << "records";
    return path;
  }
  std::vector<v1::CheckpointReport> reports() {
    absl::MutexLock lock(&mutex_);
    return reports_;
  }
  void Clear() {
    absl::MutexLock lock(&mutex_);
    reports_.clear();
  }

  const RealClock clock_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  ServerMetrics metrics_{registry_, 1};
  ChannelCache channels_{{.kind = ChannelKind::kControl}};
  OwnerThreads threads_{{.threads = 1}, clock_, metrics_, nullptr};
  Jobs jobs_{int64_t{1} << 30,
             {.threads = threads_,
              .metrics = metrics_,
              .clock = clock_,
              .channels = channels_,
              .on_failed = [](const JobPlan&, const absl::Status&) {},
              .on_progress = [](const JobPlan&, const v1::ServerProgress&) {}}};
  std::string directory_;
  std::atomic<bool> leased_ = true;
  std::shared_ptr<absl::Notification> paused_;
  absl::Mutex mutex_;
  std::vector<v1::CheckpointReport> reports_ ABSL_GUARDED_BY(mutex_);
  ServerCheckpoints checkpoints_{{.jobs = jobs_,
                                  .clock = clock_,
                                  .registry = registry_,
                                  .report =
                                      [this](const std::string&, uint64_t, const v1::JobReport& report) {
                                        absl::MutexLock lock(&mutex_);
                                        reports_.push_back(report.checkpoint());
                                      },
                                  .leased = [this] { return leased_.load(); }}};
};

TEST_F(ServerCheckpointsTest, TakesAndCommits) {
  Complete(1);
  EXPECT_OK(SelectCheckpoint(directory_, 0));
}

TEST_F(ServerCheckpointsTest, AnAbandonedTakeThatHasNotBegunTouchesNothing) {
  Complete(1);
  Pause();
  Take(2);
  Abandon(2);
  Resume();
  EXPECT_OK(Manifest());
  EXPECT_TRUE(reports().empty());
  EXPECT_OK(SelectCheckpoint(directory_, 0));
}

TEST_F(ServerCheckpointsTest, AnAbandonedTakeLeavesNothing) {
  Take(1);
  Drain();
  EXPECT_TRUE(std::filesystem::exists(Path()));
  Abandon(1);
  Drain();
  EXPECT_FALSE(std::filesystem::exists(Path()));
}

TEST_F(ServerCheckpointsTest, TheRemovalOfOneSparesTheNextOfTheSameStep) {
  Pause();
  Abandon(1);
  Take(2);
  const std::string shard = WriteAnothersShard();
  Resume();
  EXPECT_TRUE(std::filesystem::exists(shard));
  ASSERT_EQ(reports().size(), 1u);
  EXPECT_TRUE(reports()[0].has_shard());
}

TEST_F(ServerCheckpointsTest, WithoutALeaseNothingIsRemoved) {
  const std::string shard = WriteAnothersShard();
  leased_ = false;
  Abandon(1);
  Drain();
  EXPECT_TRUE(std::filesystem::exists(shard));
}

TEST_F(ServerCheckpointsTest, AManifestThatCannotBeReadNowIsNotRemoved) {
  Complete(1);
  {
    const ScopedFailpoints armed("file.open=errno(EMFILE)");
    Abandon(2);
    Drain();
  }
  EXPECT_OK(SelectCheckpoint(directory_, 0));
}

TEST_F(ServerCheckpointsTest, ATakeWithoutALeaseIsAnsweredAsFailed) {
  leased_ = false;
  Take(1);
  Drain();
  ASSERT_EQ(reports().size(), 1u);
  EXPECT_EQ(reports()[0].failed().code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(reports()[0].number(), 1u);
  EXPECT_FALSE(std::filesystem::exists(Path()));
  leased_ = true;
  Take(1);
  ASSERT_EQ(reports().size(), 2u) << "the repetition is answered again";
}

}  // namespace
}  // namespace paramd
