#include "worker/train/chunk_exchange.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/shared_memory.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/parameter_client/fake_parameter_service.h"

namespace paramd {
namespace {

constexpr float kLearningRate = 0.125f;

// Three parameters over three chunks of 1024: each chunk but the last is shared by two.
ArenaPlan TestPlan() {
  std::vector<ParameterSpec> layout(3);
  layout[0] = {.name = "a", .shape = {700}};
  layout[1] = {.name = "b", .shape = {40, 20}};
  layout[2] = {.name = "c", .shape = {900}};
  return ArenaPlan::Create(layout, 1024).value();
}

// A parameter of tests.
struct ExchangeCase {
  std::string name;
  v1::SyncMode mode = v1::SYNC_MODE_SYNC;
  bool shared = false;
  v1::Codec codec = v1::CODEC_FP32;
};

class ChunkExchangeTest : public testing::TestWithParam<ExchangeCase> {
 protected:
  void Start(uint32_t slots) {
    spec_.mutable_training()->set_slots(slots);
    spec_.mutable_sync()->set_mode(GetParam().mode);
    spec_.mutable_sync()->set_staleness(0);
    spec_.mutable_communication()->set_push_codec(GetParam().codec);
    spec_.mutable_communication()->set_topk_ratio(0.01);
    codecs_ = CodecPlan::Create(spec_, plan_).value();
    FakeParameterOptions service = {.mode = GetParam().mode, .slots = slots, .learning_rate = kLearningRate};
    service.codecs = &codecs_;
    static int count = 0;
    if (GetParam().shared) service.local_socket = absl::StrCat("/tmp/paramd-exchange-test-", getpid(), "-", count++);
    service_ = std::make_unique<FakeParameterService>(plan_, service);
    service_->Start();
    const SlotRange all = {0, slots};
    if (GetParam().shared) {
      segment_ = SharedSegment::Create(ChunkExchange::SharedBytes(spec_, plan_, all, codecs_)).value();
    }
    const auto memory = std::make_shared<ArenaMemory>(segment_);
    ParameterClientOptions client;
    client.caller = {.job_id = "job", .generation = 1, .worker_index = 0, .worker_incarnation = 1};
    client.placement = service_->placement();
    client.segment = segment_;
    client.codecs = &codecs_;
    client.payload_owner = memory;
    client_ = ParameterClient::Create(client, plan_).value();
    exchange_ = std::make_unique<ChunkExchange>(ChunkExchangeOptions{
        .spec = spec_, .plan = plan_, .slots = all, .client = *client_, .memory = memory, .codecs = &codecs_});
  }
  ~ChunkExchangeTest() override { client_.reset(); }  // It borrows the exchange's memory.

  std::vector<float> Weights() const { return {exchange_->weights().begin(), exchange_->weights().end()}; }
  int parameters() const { return static_cast<int>(plan_.parameters().size()); }

  // Forward and backward of one slot. In the last slot each parameter's gradient is the last of one chunk: waits until
  // the chunk's new weights have landed and looks whether what the program reads is still the same.
  void RunSlot(uint32_t slot, bool last, const std::vector<float>& expected) {
    const absl::Span<float> gradients = exchange_->BeginSlot(slot);
    for (int p = 0; p < parameters(); ++p) ASSERT_OK(exchange_->WaitForParameter(p));
    ASSERT_EQ(Weights(), expected);
    for (int p = parameters() - 1; p >= 0; --p) {
      const ElementRange range = plan_.ParameterRange(p);
      std::fill(gradients.begin() + range.begin, gradients.begin() + range.end, 8.0f);
      const int64_t pulled = client_->stats().pulled_bytes;
      ASSERT_OK(exchange_->GradientFinal(p));
      if (last) {
        while (client_->stats().open_requests > 0) absl::SleepFor(absl::Microseconds(50));
        ASSERT_GT(client_->stats().pulled_bytes, pulled);
      }
      ASSERT_EQ(Weights(), expected) << "after the gradient of parameter " << p;
    }
  }

  const ArenaPlan plan_ = TestPlan();
  v1::JobSpec spec_;
  CodecPlan codecs_;
  std::unique_ptr<FakeParameterService> service_;
  std::shared_ptr<SharedSegment> segment_;
  std::unique_ptr<ParameterClient> client_;
  std::unique_ptr<ChunkExchange> exchange_;
};

TEST_P(ChunkExchangeTest, BackwardNeverSeesItsWeightsChange) {
  Start(/*slots=*/3);
  ASSERT_OK(exchange_->PullWeights(0));
  std::vector<float> expected = service_->weights();
  for (uint64_t step = 0; step < 4; ++step) {
    exchange_->BeginStep(step, {0, 3});
    for (uint32_t slot = 0; slot < 3; ++slot) RunSlot(slot, slot == 2, expected);
    if (HasFatalFailure()) return;
    ASSERT_OK(exchange_->EndStep());
    const std::vector<float> next = service_->weights();
    ASSERT_NE(next, expected);
    ASSERT_EQ(Weights(), expected);
    expected = next;
    if (step != 1) continue;
    // An evaluation between two steps reads the new weights, and the step after it too.
    ASSERT_OK(exchange_->WaitForAll());
    ASSERT_EQ(Weights(), expected);
  }
  ASSERT_OK(exchange_->WaitForAll());
  ASSERT_OK(exchange_->Finish(4));
  ASSERT_OK(exchange_->WaitForAll());
  EXPECT_EQ(Weights(), expected);
  EXPECT_EQ(Weights(), service_->weights());
  const FakeParameterService::SharedMemoryUse use = service_->shared_memory_use();
  EXPECT_EQ(use.pulls > 0, GetParam().shared);
  EXPECT_EQ(use.pushes > 0, GetParam().shared);
  EXPECT_EQ(use.refused, 0);
}

INSTANTIATE_TEST_SUITE_P(Modes, ChunkExchangeTest,
                         testing::Values(ExchangeCase{"sync"}, ExchangeCase{"ssp", v1::SYNC_MODE_SSP},
                                         ExchangeCase{"async", v1::SYNC_MODE_ASYNC},
                                         ExchangeCase{"sync_shared", v1::SYNC_MODE_SYNC, true},
                                         ExchangeCase{"async_shared", v1::SYNC_MODE_ASYNC, true},
                                         ExchangeCase{"int8", v1::SYNC_MODE_SYNC, false, v1::CODEC_INT8},
                                         ExchangeCase{"onebit_shared", v1::SYNC_MODE_SYNC, true, v1::CODEC_ONEBIT}),
                         [](const testing::TestParamInfo<ExchangeCase>& info) { return info.param.name; });

using ChunkExchangeResidualTest = ChunkExchangeTest;

TEST_P(ChunkExchangeResidualTest, ResidualsBelongToSubtreesAndAreNamed) {
  Start(/*slots=*/3);  // Subtrees {0, 1, 2}: the root.
  ASSERT_EQ(exchange_->residual_count(), 1);
  EXPECT_EQ(exchange_->residual_name(0), "residual/slots/0+3");
  EXPECT_THAT(exchange_->residual(0), testing::Each(0.0f));
  EXPECT_EQ(exchange_->residual(0).size(), static_cast<size_t>(plan_.arena_elements()));
  ASSERT_OK(exchange_->PullWeights(0));
  exchange_->BeginStep(0, {0, 3});
  for (int p = 0; p < parameters(); ++p) ASSERT_OK(exchange_->WaitForParameter(p));
  for (uint32_t slot = 0; slot < 3; ++slot) {
    const absl::Span<float> gradients = exchange_->BeginSlot(slot);
    for (int64_t i = 0; i < plan_.arena_elements(); ++i) gradients[i] = static_cast<float>(i % 7);
    for (int p = parameters() - 1; p >= 0; --p) ASSERT_OK(exchange_->GradientFinal(p));
  }
  ASSERT_OK(exchange_->WaitForAll());
  // What is sent and what is kept are the gradient: 3 * (i % 7).
  const absl::Span<const float> residual = exchange_->residual(0);
  for (int64_t i = 0; i < plan_.arena_elements(); ++i) {
    const float sent = -exchange_->weights()[i] / kLearningRate * 3;
    ASSERT_NEAR(sent + residual[i], 3.0f * static_cast<float>(i % 7), 1e-3) << i;
  }
  EXPECT_NE(*std::max_element(residual.begin(), residual.end()), 0.0f);
  EXPECT_EQ(exchange_->memory_bytes(), [&] {
    int64_t bytes = (2 + 2 + 1) * plan_.arena_elements() * 4;  // Weights, sums, residual.
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
      bytes += static_cast<int64_t>(codecs_.MaxEncodedBytes(chunk));
    }
    return bytes;
  }());
}

INSTANTIATE_TEST_SUITE_P(Codecs, ChunkExchangeResidualTest,
                         testing::Values(ExchangeCase{"int8", v1::SYNC_MODE_SYNC, false, v1::CODEC_INT8},
                                         ExchangeCase{"topk", v1::SYNC_MODE_SYNC, false, v1::CODEC_TOPK},
                                         ExchangeCase{"onebit", v1::SYNC_MODE_SYNC, true, v1::CODEC_ONEBIT}),
                         [](const testing::TestParamInfo<ExchangeCase>& info) { return info.param.name; });

// Residuals of the pieces of a worker's slots do not mix.
TEST(ChunkExchangeNamesTest, OneResidualPerSubtreeInSync) {
  const ArenaPlan plan = TestPlan();
  v1::JobSpec spec;
  spec.mutable_training()->set_slots(8);
  spec.mutable_communication()->set_push_codec(v1::CODEC_ONEBIT);
  spec.mutable_communication()->set_topk_ratio(0.01);
  const CodecPlan codecs = CodecPlan::Create(spec, plan).value();
  FakeParameterService service(plan, {.slots = 8});
  service.Start();
  ParameterClientOptions options;
  options.placement = service.placement();
  const std::unique_ptr<ParameterClient> client = ParameterClient::Create(options, plan).value();
  for (const auto& [mode, names] : std::vector<std::pair<v1::SyncMode, std::vector<std::string>>>{
           {v1::SYNC_MODE_SYNC, {"residual/slots/1+1", "residual/slots/2+2", "residual/slots/4+1"}},
           {v1::SYNC_MODE_ASYNC, {"residual/slots/1+4"}}}) {
    spec.mutable_sync()->set_mode(mode);
    const ChunkExchange exchange(
        {.spec = spec, .plan = plan, .slots = {1, 4}, .client = *client, .memory = nullptr, .codecs = &codecs});
    ASSERT_EQ(exchange.residual_count(), static_cast<int>(names.size()));
    for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(exchange.residual_name(static_cast<int>(i)), names[i]);
  }
}

}  // namespace
}  // namespace paramd
