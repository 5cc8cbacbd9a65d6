#include "server/service/server_job.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"
#include "server/store/test_job.h"

namespace {

thread_local int64_t allocations = 0;  // Of this thread.

}  // namespace

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, std::align_val_t alignment) {
  ++allocations;
  const size_t step = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (size + step - 1) / step * step)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace paramd {
namespace {

constexpr int64_t kElements = 1024;  // Of chunks 0 to 3 of the test job.

// Keeps the last answer only.
class FakeOrigin final : public RequestOrigin {
 public:
  void Deliver(Answer answer) override {
    last = std::move(answer);
    ++answers;
  }
  Transport push_transport() const override { return Transport::kUnix; }
  Transport pull_transport() const override { return Transport::kSharedMemory; }

  Answer last;
  int answers = 0;
};

class ServerJobTest : public testing::Test {
 protected:
  void Start(const TestJobOptions& options) {
    auto plan = JobPlan::Create(TestAssignment(options), 0);
    ASSERT_OK(plan.status());
    job_ = nullptr;
    plan_ = *plan;
    const ServerJobEnvironment environment = {
        .threads = threads_,
        .metrics = metrics_,
        .clock = clock_,
        .channels = channels_,
        .on_failed = [this](const JobPlan&, const absl::Status& status) { failure_ = status; },
        .on_progress = [](const JobPlan&, const v1::ServerProgress&) {}};
    job_ = std::make_shared<ServerJob>(*plan, environment, [this] {
      ++gone_;
      freed_ = plan_.expired();
    });
    absl::Notification ready;
    job_->Initialize([&] { ready.Notify(); });
    ready.WaitForNotification();
    EXPECT_TRUE(job_->initialized());
  }
  // Runs `function` on owner thread 0 and waits for it.
  void OnOwner(const std::function<void()>& function) {
    absl::Notification done;
    threads_.Post(0, [&] {
      function();
      done.Notify();
    });
    done.WaitForNotification();
  }
  ChunkRequest Push(uint32_t chunk, uint64_t step, absl::string_view payload) {
    ChunkRequest push = TestPush(job_->plan(), {.chunk = chunk, .step = step, .subtree = {0, 0}}, payload);
    push.key.origin = origin_;
    push.received = clock_.Now();
    return push;
  }
  ChunkRequest Pull(uint32_t chunk, uint64_t min_version, uint64_t stream = 1) {
    ChunkRequest pull = TestPull(job_->plan(), {.stream = stream, .chunk = chunk, .min_version = min_version});
    pull.key.origin = origin_;
    pull.received = clock_.Now();
    return pull;
  }

  RealClock clock_;
  ServerMetrics metrics_{std::make_shared<prometheus::Registry>(), 1};
  ChannelCache channels_{{.kind = ChannelKind::kControl}};
  std::weak_ptr<const JobPlan> plan_;  // Which every chunk refers to.
  std::atomic<int> gone_ = 0;
  std::atomic<bool> freed_ = false;
  absl::Status failure_;
  std::shared_ptr<FakeOrigin> origin_ = std::make_shared<FakeOrigin>();
  std::shared_ptr<ServerJob> job_;
  OwnerThreads threads_{{.threads = 1}, clock_, metrics_, nullptr};
};

// Messages that complete a chunk's step; what is done once a step for all chunks together is not among them.
TEST_F(ServerJobTest, AMessageAllocatesNothing) {
  constexpr uint64_t kWarmUp = 20, kSteps = 200;
  for (v1::SyncMode mode : {v1::SYNC_MODE_SYNC, v1::SYNC_MODE_ASYNC}) {
    Start({.mode = mode, .slots = 1, .steps = kWarmUp + kSteps, .optimizer = v1::OPTIMIZER_TYPE_ADAMW});
    const std::vector<float> gradient(kElements, 1.0f);
    const absl::string_view payload(reinterpret_cast<const char*>(gradient.data()), kElements * sizeof(float));
    int64_t allocated = 0;
    OnOwner([&] {
      for (uint64_t step = 0; step < kWarmUp + kSteps; ++step) {
        const int64_t before = allocations;
        ChunkRequest push = Push(1, step, payload);
        push.pull = true;
        push.min_version = step + 1;
        job_->Handle(push);
        ASSERT_EQ(origin_->last.version, step + 1);
        ASSERT_NE(origin_->last.snapshot, nullptr);
        if (step >= kWarmUp) allocated += allocations - before;
      }
    });
    EXPECT_EQ(allocated, 0) << mode;
  }
}

TEST_F(ServerJobTest, NormsOfAllChunksMakeAStepsNorm) {
  Start({.slots = 1, .clip_norm = 1});
  EXPECT_TRUE(job_->plan().needs_total_norm());
  for (uint64_t step = 0; step < 3; ++step) {
    for (uint32_t chunk = 0; chunk < 5; ++chunk) {
      const std::vector<float> gradient(job_->shard().FindChunk(chunk)->elements(), 1.0f);
      const absl::string_view payload(reinterpret_cast<const char*>(gradient.data()), gradient.size() * sizeof(float));
      OnOwner([&] {
        EXPECT_EQ(job_->shard().FindChunk(chunk)->version(), step) << "waits for the norms of all";
        job_->Handle(Push(chunk, step, payload));
      });
    }
    OnOwner([] {});
    OnOwner([&] {
      for (const auto& chunk : job_->shard().chunks()) EXPECT_EQ(chunk->version(), step + 1);
    });
  }
  EXPECT_OK(failure_);
}

TEST_F(ServerJobTest, MetricsAppearAtTheTick) {
  Start({.slots = 1});
  const std::vector<float> gradient(kElements, 1.0f);
  const absl::string_view payload(reinterpret_cast<const char*>(gradient.data()), kElements * sizeof(float));
  JobMetrics& metrics = job_->metrics();
  OnOwner([&] {
    job_->Handle(Push(0, 0, payload));
    job_->Handle(Push(0, 0, payload));  // Again.
    job_->Handle(Pull(0, 1));
    EXPECT_EQ(metrics.updates_applied.Value(), 0);
    job_->Tick(0, clock_.Now());
  });
  EXPECT_EQ(origin_->answers, 3);
  EXPECT_EQ(metrics.updates_applied.Value(), 1);
  EXPECT_EQ(metrics.dropped_duplicate.Value(), 1);
  EXPECT_EQ(metrics.global_step.Value(), 1);
  const double bytes = kElements * sizeof(float);
  EXPECT_EQ(metrics.pushes.wire_bytes(v1::CODEC_FP32, Transport::kUnix).Value(), 2 * bytes);
  EXPECT_EQ(metrics.pulls.raw_bytes(v1::CODEC_FP32, Transport::kSharedMemory).Value(), bytes);
}

TEST_F(ServerJobTest, AStreamThatIsGoneIsForgottenOnAllChunks) {
  Start({.slots = 1});
  OnOwner([&] {
    for (uint32_t chunk = 0; chunk < 4; ++chunk) {
      job_->Handle(Pull(chunk, 1, /*stream=*/7));
      job_->Handle(Pull(chunk, 1, /*stream=*/8));
    }
  });
  EXPECT_EQ(origin_.use_count(), 9);
  job_->DropStream(7);
  OnOwner([] {});
  EXPECT_EQ(origin_.use_count(), 5);
  EXPECT_EQ(origin_->answers, 0);
}

TEST_F(ServerJobTest, AFailureAnswersWhatWaitsAndIsToldOnce) {
  Start({.slots = 1});
  OnOwner([&] { job_->Handle(Pull(0, 1)); });
  const absl::Status failure = MakeError(absl::StatusCode::kUnavailable, "TEST", "failed");
  EXPECT_FALSE(job_->ended());
  job_->Fail(failure);
  job_->Fail(absl::InternalError("another"));
  job_->Release(absl::InternalError("released"));
  OnOwner([] {});
  EXPECT_TRUE(job_->ended());
  EXPECT_EQ(failure_, failure);
  EXPECT_EQ(origin_->answers, 1);
  EXPECT_EQ(origin_->last.status, failure);
  EXPECT_EQ(gone_, 0);
  job_ = nullptr;
  OnOwner([] {});
  EXPECT_EQ(gone_, 1);
  EXPECT_TRUE(freed_) << "gone before its chunks were";
}

}  // namespace
}  // namespace paramd
