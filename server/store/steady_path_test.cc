// The promise of chunk.h that a message which is not refused allocates nothing once the chunk has seen a few steps: all
// of this program's allocations are counted.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/partition/codec_plan.h"
#include "common/tensor/reduce.h"
#include "gtest/gtest.h"
#include "server/store/chunk.h"
#include "server/store/test_job.h"

namespace {

std::atomic<int64_t> allocations = 0;

void* Allocate(size_t size, size_t alignment) {
  ++allocations;
  void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return Allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new[](size_t size) { return Allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(size_t size, std::align_val_t alignment) { return Allocate(size, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

namespace paramd {
namespace {

constexpr uint32_t kWorkers = 2, kSlots = 4;
constexpr uint64_t kWarmUp = 4, kSteps = 12;

struct Case {
  const char* name;
  TestJobOptions job;
  v1::Codec codec = v1::CODEC_FP32;         // Of the pushes.
  v1::Codec answer_codec = v1::CODEC_FP32;  // Of the pulls.
  bool shared = false;                      // Pulls into shared memory.
};

class SteadyPathTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    TestJobOptions options = GetParam().job;
    options.workers = kWorkers;
    options.slots = kSlots;
    options.steps = kSteps;
    options.push_codec = GetParam().codec;
    auto plan = JobPlan::Create(TestAssignment(options), 0);
    ASSERT_OK(plan);
    plan_ = *plan;
    chunk_ = std::make_unique<Chunk>(plan_, 0, BufferPool::Create());
    chunk_->Initialize();
    memory_.resize(kWorkers * chunk_->elements());
    for (uint32_t worker = 0; worker < kWorkers; ++worker) {
      const std::vector<float> sum = TestGradientSum(chunk_->elements(), 2 * worker, 2, 0, 0);
      ASSERT_OK(EncodeChunk(plan_->codecs, 0, sum, {}, payloads_[worker]));
      // In two fragments, cut inside an element.
      const absl::string_view bytes = payloads_[worker];
      fragments_[worker] = {bytes.substr(0, bytes.size() / 2 + 1), bytes.substr(bytes.size() / 2 + 1)};
    }
  }

  // Both workers push the step and pull what comes out of it; what is answered goes away at once.
  void Step(uint64_t step, ChunkActions& actions) {
    for (uint32_t worker = 0; worker < kWorkers; ++worker) {
      ChunkRequest request = TestPush(*plan_,
                                      {.worker = worker,
                                       .step = step,
                                       .subtree = {.first_slot = 2 * worker, .log2_size = 1},
                                       .pull = true,
                                       .min_version = plan_->synchronous() ? step + 1 : 0},
                                      {});
      request.codec = GetParam().codec;
      request.payload = PayloadView(fragments_[worker], payloads_[worker].size());
      request.answer_codec = GetParam().answer_codec;
      if (GetParam().shared) {
        request.shared_answer = absl::MakeSpan(memory_).subspan(worker * chunk_->elements(), chunk_->elements());
      }
      chunk_->Handle(request, actions);
      if (plan_->needs_total_norm() && actions.norm.has_value()) {
        chunk_->OnTotalNorm(step, actions.norm->squared_norm, actions);
      }
      TakeAnswers(actions);
    }
  }

  void TakeAnswers(ChunkActions& actions) {
    for (const Answer& answer : actions.answers) {
      answered_ += answer.status.ok() && answer.snapshot->crc32c(answer.answer_codec) != 0 ? 1 : 0;
    }
    actions.Clear();
  }

  std::shared_ptr<const JobPlan> plan_;
  std::unique_ptr<Chunk> chunk_;
  std::string payloads_[kWorkers];
  std::vector<absl::string_view> fragments_[kWorkers];
  std::vector<float> memory_;
  int answered_ = 0;
};

TEST_P(SteadyPathTest, AllocatesNothing) {
  ChunkActions actions;
  for (uint64_t step = 0; step < kWarmUp; ++step) Step(step, actions);
  const int64_t before = allocations;
  for (uint64_t step = kWarmUp; step < kSteps; ++step) Step(step, actions);
  const int64_t after = allocations;
  EXPECT_GT(before, 0);
  EXPECT_EQ(after - before, 0);
  EXPECT_EQ(answered_, static_cast<int>(kWorkers * kSteps));
}

INSTANTIATE_TEST_SUITE_P(
    Jobs, SteadyPathTest,
    testing::Values(Case{"Sync", {.optimizer = v1::OPTIMIZER_TYPE_ADAMW}},
                    Case{"Shared", {.optimizer = v1::OPTIMIZER_TYPE_ADAMW}, v1::CODEC_FP32, v1::CODEC_FP32, true},
                    Case{"Clipped", {.clip_norm = 1}}, Case{"Half", {}, v1::CODEC_BF16, v1::CODEC_BF16},
                    Case{"Int8", {}, v1::CODEC_INT8, v1::CODEC_BF16, true}, Case{"Topk", {}, v1::CODEC_TOPK},
                    Case{"Onebit", {}, v1::CODEC_ONEBIT}, Case{"Async", {.mode = v1::SYNC_MODE_ASYNC}},
                    Case{"Ssp", {.mode = v1::SYNC_MODE_SSP, .non_finite = v1::NON_FINITE_POLICY_SKIP}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace paramd
