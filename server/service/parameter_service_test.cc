// Exchange over real sockets, spoken to by a generated client.
#include "server/service/parameter_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/crc32c.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "server/service/testing/exchange_client.h"
#include "server/service/testing/test_service.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

constexpr int64_t kElements = 1024;  // Of chunks 0 to 3 of the test job.
constexpr uint32_t kChunks = 5;

// Keeps an owner thread from its work while it lives.
class Blocked {
 public:
  Blocked(OwnerThreads& threads, int thread) {
    threads.Post(thread, [this] {
      started_.Notify();
      end_.WaitForNotification();
      ended_.Notify();
    });
    started_.WaitForNotification();
  }
  ~Blocked() {
    end_.Notify();
    ended_.WaitForNotification();
  }

 private:
  absl::Notification started_, end_, ended_;
};

// Waits until `condition` holds; fails the test when it does not within a time that is long for everything here.
template <typename Condition>
void Await(Condition condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!condition()) {
    ASSERT_LT(absl::Now(), deadline);
    absl::SleepFor(absl::Milliseconds(1));
  }
}

TEST(ParameterServiceTest, AnswersWithinTheHostCarryAChecksumWhenAsked) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment()));
  std::string weights;
  const struct {
    std::string address;
    const char* asked;
    bool checked;
  } cases[] = {
      {service.tcp_address(), "", false},         {service.unix_address(), "", false},
      {service.tcp_address(), "always", true},    {service.unix_address(), "always", true},
      {service.tcp_address(), "whatever", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.address + " " + c.asked);
    ExchangeClient client(c.address, c.asked);
    const v1::ParameterResponse answer = client.Call(PullMessage(0, 2));
    ASSERT_EQ(answer.code(), 0) << answer.message();
    EXPECT_EQ(answer.payload().size(), kElements * sizeof(float));
    EXPECT_EQ(answer.codec(), v1::CODEC_FP32);
    EXPECT_EQ(answer.crc32c(),
              c.checked ? Crc32c(absl::string_view(answer.payload().data(), answer.payload().size())) : 0);
    if (weights.empty()) weights = answer.payload();
    EXPECT_EQ(answer.payload(), weights);
    EXPECT_TRUE(client.Finish().ok());
  }
}

TEST(ParameterServiceTest, APushWithoutAChecksumIsTaken) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  ExchangeClient client(service.unix_address());
  v1::ParameterRequest push = PushMessage(0, 0, 0, {0, 0}, 1, TestGradient(kElements, 0, 0, 0));
  push.set_crc32c(0);
  EXPECT_EQ(client.Call(push).code(), 0);
  EXPECT_EQ(client.Call(PullMessage(0, 0, 1)).version(), 1u);
}

TEST(ParameterServiceTest, EveryRequestIsAnsweredWhateverItsId) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment()));
  ExchangeClient client(service.tcp_address());
  v1::ParameterRequest pull = PullMessage(0, 1);
  pull.set_request_id(7);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(client.SendRaw(pull));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.Receive().request_id(), 7u);
  EXPECT_TRUE(client.Finish().ok());
}

TEST(ParameterServiceTest, AMessageThatIsNoneEndsItsStreamAlone) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment()));
  ExchangeClient good(service.tcp_address());
  const std::string messages[] = {"\xff", std::string("\x0a\x05", 2), std::string(1000, '\x07')};
  for (const std::string& bytes : messages) {
    const auto channel = CreateChannel(service.tcp_address(), {.kind = ChannelKind::kBulk});
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto stream = stub.PrepareCall(&context, "/paramd.v1.ParameterService/Exchange", &queue);
    void* tag = nullptr;
    bool ok = false;
    stream->StartCall(nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    const grpc::Slice slice(bytes);
    stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    grpc::Status status;
    stream->Finish(&status, nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_THAT(FromGrpcStatus(status), StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_MESSAGE"));
    queue.Shutdown();
    EXPECT_FALSE(queue.Next(&tag, &ok));
    EXPECT_EQ(good.Call(PullMessage(0, 0)).code(), 0);
  }
}

TEST(ParameterServiceTest, HeldPayloadsAreBoundedAndAllAreAnswered) {
  constexpr int kPushes = 200;
  const int64_t payload = kElements * sizeof(float);
  TestService service({.limits = {.payloads = 1000, .payload_bytes = 10 * payload}}, /*threads=*/1);
  ASSERT_OK(service.Prepare(TestAssignment({.mode = v1::SYNC_MODE_ASYNC, .slots = 1, .steps = kPushes})));
  ExchangeClient client(service.tcp_address());
  std::thread sender;
  prometheus::Gauge& held = service.metrics().push_bytes_in_flight();
  {
    Blocked blocked(service.threads(), 0);
    sender = std::thread([&] {
      for (int i = 0; i < kPushes; ++i) {
        EXPECT_NE(client.Send(PushMessage(0, 0, i, {}, 1, TestGradient(kElements, 0, i, 0))), 0u);
      }
    });
    Await([&] {
      service.service().UpdateMetrics();
      return held.Value() >= 10 * payload;
    });
    absl::SleepFor(absl::Milliseconds(50));  // For it to go wrong.
    EXPECT_TRUE(service.service().UpdateMetrics());
    EXPECT_LE(held.Value(), 11 * (payload + 200)) << "the bound, and the one that reached it";
  }
  for (int i = 0; i < kPushes; ++i) {
    const v1::ParameterResponse answer = client.Receive();
    ASSERT_EQ(answer.code(), 0) << answer.message();
    EXPECT_EQ(answer.request_id(), i + 1u) << "one owner thread, one chunk: in order";
  }
  sender.join();
  EXPECT_EQ(client.Call(PullMessage(0, 0)).version(), static_cast<uint64_t>(kPushes));
  EXPECT_TRUE(client.Finish().ok());
  Await([&] { return !service.service().UpdateMetrics(); });
  EXPECT_EQ(held.Value(), 0);
  EXPECT_EQ(service.metrics().pull_bytes_in_flight().Value(), 0);
}

TEST(ParameterServiceTest, OpenRequestsAreBounded) {
  TestService service({.limits = {.open_requests = 4}});
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  ExchangeClient waiting(service.tcp_address()), pushing(service.tcp_address());
  for (uint32_t chunk = 0; chunk < 4; ++chunk) waiting.Send(PullMessage(0, chunk, 1));
  waiting.Send(PullMessage(0, 0));  // Could be answered at once, but is not read.
  absl::Notification received;
  std::thread receiver([&] {
    waiting.Receive();
    received.Notify();
  });
  EXPECT_FALSE(received.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
  for (uint32_t chunk = 0; chunk < 4; ++chunk) {
    const auto push = PushMessage(0, chunk, 0, {0, 0}, 1, TestGradient(kElements, 0, 0, chunk));
    EXPECT_EQ(pushing.Call(push).code(), 0);
  }
  receiver.join();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(waiting.Receive().version(), 1u);
}

TEST(ParameterServiceTest, AnswersThatAreReadyTogetherComeInTheOrderOfTheirChunks) {
  TestService service({}, /*threads=*/1);
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  ExchangeClient client(service.tcp_address());
  std::vector<uint32_t> order;
  {
    Blocked blocked(service.threads(), 0);
    // All of them get ready while the first is being written; the last to be asked for are the first to come.
    for (int round = 0; round < 8; ++round) {
      for (uint32_t chunk = kChunks; chunk-- > 0;) client.Send(PullMessage(0, chunk));
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
  for (int i = 0; i < 40; ++i) order.push_back(client.Receive().chunk());
  int descents = 0;
  for (int i = 1; i < 40; ++i) descents += order[i] < order[i - 1] ? 1 : 0;
  // In the order of arrival it would be 32.
  EXPECT_LT(descents, 20) << testing::PrintToString(order);
}

TEST(ParameterServiceTest, RequestsOfAStreamThatIsGoneAreForgotten) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  // Each leaves a pull that waits; more than eight of one worker are refused.
  for (int i = 0; i < 30; ++i) {
    ExchangeClient client(service.tcp_address());
    client.Send(PullMessage(0, 0, 1));
    ASSERT_EQ(client.Call(PullMessage(0, 2)).code(), 0);  // Of the same thread, so behind it.
  }
  ExchangeClient client(service.tcp_address());
  v1::ParameterResponse answer;
  Await([&] {
    v1::ParameterRequest pull = PullMessage(0, 0, 1);
    pull.set_deadline_ms(1);
    answer = client.Call(pull);
    return answer.reason() == "DEADLINE_EXCEEDED";
  });
}

TEST(ParameterServiceTest, ManySmallRequestsAtOnce) {
  constexpr int kRequests = 20000;
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment()));
  ExchangeClient client(service.unix_address());
  std::thread sender([&] {
    for (int i = 0; i < kRequests; ++i) client.Send(PullMessage(0, i % kChunks));
  });
  std::vector<int> answered(kRequests + 1, 0);
  for (int i = 0; i < kRequests; ++i) {
    const v1::ParameterResponse answer = client.Receive();
    ASSERT_EQ(answer.code(), 0) << answer.message();
    ASSERT_EQ(answer.chunk(), (answer.request_id() - 1) % kChunks);
    ++answered[answer.request_id()];
  }
  sender.join();
  for (int i = 1; i <= kRequests; ++i) ASSERT_EQ(answered[i], 1);
  EXPECT_TRUE(client.Finish().ok());
}

TEST(ParameterServiceTest, CancelledInTheMiddleOfEverything) {
  TestService service({.limits = {.payloads = 2, .payload_bytes = 8192, .open_requests = 8}});
  ASSERT_OK(service.Prepare(TestAssignment({.mode = v1::SYNC_MODE_ASYNC, .slots = 1, .steps = 1000})));
  for (int i = 0; i < 40; ++i) {
    ExchangeClient client(service.tcp_address());
    std::thread sender([&] {
      for (int k = 0; k < 50; ++k) {
        v1::ParameterRequest request = PushMessage(0, k % 4, 0, {}, 1, TestGradient(kElements, 0, 0, 0));
        request.set_operation(v1::OPERATION_PUSH_PULL);
        if (k % 7 == 6) request.set_min_version(1000);  // Waits.
        if (client.Send(request) == 0) return;
      }
    });
    absl::SleepFor(absl::Microseconds(100 * i));
    client.Cancel();
    sender.join();
  }
  ExchangeClient client(service.tcp_address());
  EXPECT_EQ(client.Call(PullMessage(0, 3)).code(), 0);
  Await([&] { return !service.service().UpdateMetrics(); });
}

TEST(ParameterServiceTest, AReleasedJobIsNotFoundByAStreamThatUsedIt) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment()));
  ExchangeClient client(service.tcp_address());
  ASSERT_EQ(client.Call(PullMessage(0, 0)).code(), 0);
  absl::Notification gone;
  service.jobs().Release("job-1", kTestGeneration, "test", [&] { gone.Notify(); });
  gone.WaitForNotification();  // The stream does not keep it.
  EXPECT_EQ(client.Call(PullMessage(0, 0)).reason(), "JOB_NOT_FOUND");
  v1::JobAssignment again = TestAssignment();
  again.set_generation(kTestGeneration + 1);
  ASSERT_OK(service.Prepare(again));
  EXPECT_EQ(client.Call(PullMessage(0, 0)).reason(), "GENERATION_FENCED");
  v1::ParameterRequest pull = PullMessage(0, 0);
  pull.set_generation(kTestGeneration + 1);
  EXPECT_EQ(client.Call(pull).code(), 0);
}

TEST(ParameterServiceTest, NobodyIsServedWithoutALease) {
  std::atomic<Lease> lease = Lease::kHeld;
  TestService service({.lease = [&] { return lease.load(); }});
  ASSERT_OK(service.Prepare(TestAssignment()));
  ExchangeClient client(service.tcp_address());
  ASSERT_EQ(client.Call(PullMessage(0, 0)).code(), 0);
  lease = Lease::kLost;
  const v1::ParameterResponse refused = client.Call(PullMessage(0, 0));  // The stream knows the job already.
  EXPECT_EQ(refused.code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(refused.reason(), "LEASE_LOST");
  ExchangeClient another(service.tcp_address());
  EXPECT_EQ(another.Call(PullMessage(0, 0)).reason(), "LEASE_LOST");
  lease = Lease::kHeld;
  EXPECT_EQ(client.Call(PullMessage(0, 0)).code(), 0);
}

TEST(ParameterServiceTest, BeforeTheFirstLeaseAnUnknownJobMayStillCome) {
  std::atomic<Lease> lease = Lease::kNone;
  TestService service({.lease = [&] { return lease.load(); }});
  ExchangeClient client(service.tcp_address());
  const v1::ParameterResponse early = client.Call(PullMessage(0, 0));
  EXPECT_EQ(early.code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(early.reason(), "JOB_NOT_READY");
  lease = Lease::kHeld;
  EXPECT_EQ(client.Call(PullMessage(0, 0)).reason(), "JOB_NOT_FOUND");
  lease = Lease::kNone;
  ASSERT_OK(service.Prepare(TestAssignment()));
  EXPECT_EQ(client.Call(PullMessage(0, 0)).code(), 0);
}

}  // namespace
}  // namespace paramd
