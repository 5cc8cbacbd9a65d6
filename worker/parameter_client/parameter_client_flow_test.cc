// What the parameter client sends when, how much of it at a time, and when it lets go of the caller's memory.
#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/parameter_client/fake_parameter_service.h"
#include "worker/parameter_client/parameter_client.h"

namespace paramd {
namespace {

constexpr int kChunks = 8;
constexpr int64_t kChunkElements = 1 << 18;  // 1 MiB: more than a socket or a flow-control window takes at once.
constexpr int64_t kChunkBytes = kChunkElements * 4;

ArenaPlan TestPlan() {
  ParameterSpec parameter;
  parameter.name = "p";
  parameter.shape = {kChunks * kChunkElements};
  return ArenaPlan::Create({parameter}, kChunkElements).value();
}

// Quicker than a matcher for millions of elements.
bool AllAre(absl::Span<const float> values, float expected) {
  return std::all_of(values.begin(), values.end(), [expected](float value) { return value == expected; });
}

class ParameterClientFlowTest : public testing::Test {
 protected:
  ParameterClientFlowTest() : landing_(kChunks * kChunkElements) {}

  void StartService(FakeParameterOptions options = {}) {
    service_ = std::make_unique<FakeParameterService>(plan_, options);
    service_->Start();
  }
  ParameterClientOptions Options(uint32_t worker = 0) const {
    ParameterClientOptions options;
    options.caller = {.job_id = "job", .generation = 1, .worker_index = worker, .worker_incarnation = 5};
    options.placement = service_->placement();
    options.streams_per_server = 1;
    options.reconnect = {.initial_backoff = absl::Milliseconds(5), .max_backoff = absl::Milliseconds(20)};
    return options;
  }
  std::unique_ptr<ParameterClient> Client(const ParameterClientOptions& options) const {
    return ParameterClient::Create(options, plan_).value();
  }
  absl::Span<float> Landing(int chunk) {
    return absl::MakeSpan(landing_).subspan(chunk * kChunkElements, kChunkElements);
  }

  const ArenaPlan plan_ = TestPlan();
  std::unique_ptr<FakeParameterService> service_;
  std::vector<float> landing_;
};

TEST_F(ParameterClientFlowTest, LowestChunkGoesFirst) {
  StartService();
  service_->Stop();  // Everything waits.
  const std::unique_ptr<ParameterClient> client = Client(Options());
  for (int chunk : {5, 7, 1, 6, 0, 3}) ASSERT_OK(client->Pull(chunk, {.landing = Landing(chunk)}));
  service_->Start();
  for (int chunk : {5, 7, 1, 6, 0, 3}) ASSERT_OK(client->WaitForChunk(chunk));
  std::vector<uint32_t> arrivals = service_->arrivals();
  EXPECT_EQ(arrivals, (std::vector<uint32_t>{0, 1, 3, 5, 6, 7}));
}

TEST_F(ParameterClientFlowTest, ChunksAreDealtToStreams) {
  StartService();
  ParameterClientOptions options = Options();
  options.streams_per_server = 3;
  const std::unique_ptr<ParameterClient> client = Client(options);
  const std::vector<float> gradient(kChunkElements, 8.0f);
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    ASSERT_OK(client->PushPull(chunk, {.step = 0, .slot_count = 1, .payload = gradient},
                               {.min_version = 1, .landing = Landing(chunk)}));
  }
  for (int chunk = 0; chunk < kChunks; ++chunk) ASSERT_OK(client->WaitForChunk(chunk));
  EXPECT_TRUE(AllAre(landing_, -1.0f));
  EXPECT_EQ(client->stats().streams[static_cast<int>(StreamTransport::kTcp)], 3);
  EXPECT_EQ(client->stats().pushed_bytes, kChunks * kChunkBytes);
}

// A server that acknowledges nothing gets no more than the credit; at least one push is always under way.
TEST_F(ParameterClientFlowTest, CreditBoundsWhatIsUnderWay) {
  for (const auto& [credit, expected] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 8}, {1, 1}, {2 * kChunkBytes, 2}, {3 * kChunkBytes + 5, 3}}) {
    StartService();
    service_->SetFault([](const v1::ParameterRequest& request) {
      return request.operation() == v1::OPERATION_PULL ? Fault::kNone : Fault::kIgnore;
    });
    ParameterClientOptions options = Options();
    options.max_bytes_in_flight = credit;
    const std::vector<float> gradient(kChunkElements, 8.0f);
    const std::unique_ptr<ParameterClient> client = Client(options);
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      ASSERT_OK(client->Push(chunk, {.step = 0, .slot_count = 1, .payload = gradient}));
    }
    while (static_cast<int64_t>(service_->arrivals().size()) < expected) absl::SleepFor(absl::Milliseconds(1));
    absl::SleepFor(absl::Milliseconds(50));  // For what must not come.
    EXPECT_EQ(static_cast<int64_t>(service_->arrivals().size()), expected) << credit;
    EXPECT_EQ(client->stats().in_flight_bytes, expected * kChunkBytes) << credit;
  }
}

// Two workers that push in opposite order, each with credit for one chunk: were it held until both have pushed, neither
// would get any further.
TEST_F(ParameterClientFlowTest, CreditIsNotHeldUntilTheOthersHavePushed) {
  StartService({.slots = 2, .workers = 2});
  const std::vector<float> gradient(kChunkElements, 8.0f);
  std::unique_ptr<ParameterClient> clients[2];
  std::vector<float> landings[2];
  for (uint32_t worker : {0u, 1u}) {
    ParameterClientOptions options = Options(worker);
    options.max_bytes_in_flight = kChunkBytes;
    options.answer_limit = absl::Seconds(20);
    landings[worker].resize(2 * kChunkElements);
    clients[worker] = Client(options);
  }
  const auto push = [&](uint32_t worker, int chunk) {
    ASSERT_OK(clients[worker]->PushPull(
        chunk, {.step = 0, .subtree = {.first_slot = worker}, .slot_count = 1, .payload = gradient},
        {.min_version = 1,
         .landing = absl::MakeSpan(landings[worker]).subspan(chunk * kChunkElements, kChunkElements)}));
  };
  push(0, 0);
  push(1, 1);
  while (service_->applied_pushes() < 2) absl::SleepFor(absl::Milliseconds(1));
  push(0, 1);
  push(1, 0);
  for (auto& client : clients) {
    for (int chunk : {0, 1}) ASSERT_OK(client->WaitForChunk(chunk));
  }
  for (auto& landing : landings) EXPECT_TRUE(AllAre(landing, -1.0f));
}

// Once a chunk has been waited for its payload is the caller's again, whatever happened on the way.
TEST_F(ParameterClientFlowTest, PayloadsMayBeFreedAfterTheWait) {
  StartService();
  auto requests = std::make_shared<std::atomic<int>>(0);
  service_->SetFault(
      [requests](const v1::ParameterRequest&) { return ++*requests % 3 == 0 ? Fault::kBreakAfter : Fault::kNone; });
  const std::unique_ptr<ParameterClient> client = Client(Options());
  for (uint64_t step = 0; step < 6; ++step) {
    std::vector<std::unique_ptr<std::vector<float>>> gradients;
    for (int chunk = 0; chunk < 4; ++chunk) {
      gradients.push_back(std::make_unique<std::vector<float>>(kChunkElements, 8.0f));
      ASSERT_OK(client->PushPull(chunk, {.step = step, .slot_count = 1, .payload = *gradients.back()},
                                 {.min_version = step + 1, .landing = Landing(chunk)}));
    }
    for (int chunk = 0; chunk < 4; ++chunk) {
      ASSERT_OK(client->WaitForChunk(chunk));
      gradients[chunk].reset();  // The sanitizers see any further use.
      EXPECT_TRUE(AllAre(Landing(chunk), -static_cast<float>(step + 1)));
    }
  }
}

// The server stands still with messages half received; the client is destroyed and its payloads with it.
TEST_F(ParameterClientFlowTest, PayloadsMayBeFreedAfterTheClient) {
  StartService();
  service_->SetFault([](const v1::ParameterRequest&) { return Fault::kStall; });
  auto gradient = std::make_unique<std::vector<float>>(kChunkElements, 8.0f);
  std::unique_ptr<ParameterClient> client = Client(Options());
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    ASSERT_OK(client->Push(chunk, {.step = 0, .slot_count = 1, .payload = *gradient}));
  }
  while (service_->arrivals().empty()) absl::SleepFor(absl::Milliseconds(1));
  client.reset();
  gradient.reset();
  service_->ReleaseStalled();
}

// With an owner the client does not wait for the transport: what it still holds keeps the memory alive.
TEST_F(ParameterClientFlowTest, OwnerOfPayloadsIsKeptAsLongAsTheyAre) {
  StartService();
  service_->SetFault([](const v1::ParameterRequest&) { return Fault::kStall; });
  auto gradient = std::make_shared<std::vector<float>>(kChunkElements, 8.0f);
  const std::weak_ptr<std::vector<float>> alive = gradient;
  ParameterClientOptions options = Options();
  options.payload_owner = gradient;
  std::unique_ptr<ParameterClient> client = Client(options);
  options.payload_owner.reset();
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    ASSERT_OK(client->Push(chunk, {.step = 0, .slot_count = 1, .payload = *gradient}));
  }
  gradient.reset();
  EXPECT_FALSE(alive.expired());
  client.reset();
  service_->Stop();
  while (!alive.expired()) absl::SleepFor(absl::Milliseconds(1));
}

}  // namespace
}  // namespace paramd
