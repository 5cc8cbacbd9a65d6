// Exchange with payloads and weights in memory that the client shares. The client is this process, or one that is
// killed.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/shared_memory.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "server/service/testing/exchange_client.h"
#include "server/service/testing/test_service.h"
#include "server/store/test_job.h"

extern char** environ;

namespace paramd {
namespace {

constexpr size_t kElements = 1024;  // Of chunks 0 to 3 of the test job.

// A client's memory: a gradient and a place for weights.
struct ClientMemory {
  ClientMemory() {
    auto made = SharedSegment::Create(SharedSegment::BytesFor({kElements, kElements}));
    EXPECT_OK(made.status());
    segment = *std::move(made);
    gradient = segment->AllocateFloats(kElements);
    weights = segment->AllocateFloats(kElements);
  }
  v1::ParameterRequest AttachMessage() const {
    v1::ParameterRequest request;
    request.set_operation(v1::OPERATION_ATTACH);
    v1::SharedMemory& memory = *request.mutable_shared_memory();
    memory.set_pid(segment->pid());
    memory.set_fd(segment->fd());
    memory.set_bytes(segment->bytes());
    memory.set_token(segment->token().data(), segment->token().size());
    return request;
  }
  // A PUSH_PULL of all slots whose gradient and weights lie in the memory.
  v1::ParameterRequest StepMessage(uint32_t chunk, uint64_t step, uint32_t slots) const {
    v1::ParameterRequest request = PushMessage(0, chunk, step, {0, 0}, slots, {});
    request.set_operation(v1::OPERATION_PUSH_PULL);
    request.set_crc32c(0);
    request.set_min_version(step + 1);
    request.set_shared_payload_offset(segment->OffsetOf(gradient.data()));
    request.set_shared_payload_bytes(kElements * sizeof(float));
    request.set_shared_answer_offset(segment->OffsetOf(weights.data()));
    return request;
  }

  std::shared_ptr<SharedSegment> segment;
  absl::Span<float> gradient;
  absl::Span<float> weights;
};

// How many segments are mapped into this process.
int MappedSegments() {
  const absl::StatusOr<std::string> maps = ReadFile("/proc/self/maps", 16 << 20);
  EXPECT_OK(maps.status());
  int count = 0;
  for (absl::string_view line : absl::StrSplit(*maps, '\n')) count += absl::StrContains(line, "/memfd:") ? 1 : 0;
  return count;
}

template <typename Condition>
void Await(Condition condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!condition()) {
    ASSERT_LT(absl::Now(), deadline);
    absl::SleepFor(absl::Milliseconds(1));
  }
}

void ExpectRefused(const v1::ParameterResponse& response, absl::StatusCode code, const std::string& reason) {
  EXPECT_EQ(response.code(), static_cast<int>(code)) << response.message();
  EXPECT_EQ(response.reason(), reason) << response.message();
}

TEST(SharedMemoryServiceTest, StepsWithoutAPayloadInAnyMessage) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  ClientMemory memory;
  const int mapped = MappedSegments();
  {
    ExchangeClient client(service.unix_address());
    const std::vector<float> before = BytesToFloats(client.Call(PullMessage(0, 1)).payload());
    ASSERT_EQ(client.Call(memory.AttachMessage()).code(), 0);
    EXPECT_EQ(MappedSegments(), mapped + 1);
    EXPECT_EQ(service.metrics().attached_segments().Value(), 1);
    std::vector<float> expected = before;
    for (uint64_t step = 0; step < 3; ++step) {
      const std::vector<float> gradient = TestGradient(kElements, 0, step, 1);
      std::copy(gradient.begin(), gradient.end(), memory.gradient.begin());
      const v1::ParameterResponse answer = client.Call(memory.StepMessage(1, step, 1));
      ASSERT_EQ(answer.code(), 0) << answer.message();
      EXPECT_EQ(answer.version(), step + 1);
      EXPECT_EQ(answer.codec(), v1::CODEC_FP32);
      EXPECT_EQ(answer.shared_answer_bytes(), kElements * sizeof(float));
      EXPECT_TRUE(answer.payload().empty());
      for (size_t i = 0; i < kElements; ++i) expected[i] -= gradient[i];
      ASSERT_EQ(std::vector<float>(memory.weights.begin(), memory.weights.end()), expected) << step;
    }
    const v1::ParameterResponse inline_answer = client.Call(PullMessage(0, 1));
    EXPECT_EQ(BytesToFloats(inline_answer.payload()), expected) << "messages still may carry weights";
    EXPECT_TRUE(client.Finish().ok());
  }
  Await([&] { return service.metrics().attached_segments().Value() == 0; });
  EXPECT_EQ(MappedSegments(), mapped);
}

TEST(SharedMemoryServiceTest, AttachIsRefused) {
  ClientMemory memory;
  TestService service, without({.shared_memory = false});
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  const auto attach = [&](const std::string& address, auto change) {
    v1::ParameterRequest request = memory.AttachMessage();
    change(request);
    return ExchangeClient(address).Call(request);
  };
  using R = v1::ParameterRequest;
  using Code = absl::StatusCode;
  ExpectRefused(attach(service.tcp_address(), [](R&) {}), Code::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE");
  ExpectRefused(attach(without.unix_address(), [](R&) {}), Code::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE");
  ExpectRefused(attach(service.unix_address(), [](R& r) { r.clear_shared_memory(); }), Code::kInvalidArgument,
                "INVALID_OPERATION");
  ExpectRefused(attach(service.unix_address(), [](R& r) { r.mutable_shared_memory()->set_token("0123456789abcdef"); }),
                Code::kPermissionDenied, "SHARED_MEMORY_REFUSED");
  ExpectRefused(attach(service.unix_address(), [](R& r) { r.mutable_shared_memory()->set_fd(1 << 20); }),
                Code::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE");
  EXPECT_EQ(service.metrics().attached_segments().Value(), 0);

  ExchangeClient client(service.unix_address());
  ASSERT_EQ(client.Call(memory.AttachMessage()).code(), 0);
  ExpectRefused(client.Call(memory.AttachMessage()), Code::kFailedPrecondition, "ALREADY_ATTACHED");
  EXPECT_EQ(service.metrics().attached_segments().Value(), 1);
  EXPECT_EQ(client.Call(memory.StepMessage(0, 0, 1)).code(), 0) << "the first is still there";
}

TEST(SharedMemoryServiceTest, RangesAreChecked) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 1})));
  ClientMemory memory;
  ExchangeClient client(service.unix_address());
  ExpectRefused(client.Call(memory.StepMessage(0, 0, 1)), absl::StatusCode::kFailedPrecondition,
                "SHARED_MEMORY_UNAVAILABLE");
  ASSERT_EQ(client.Call(memory.AttachMessage()).code(), 0);
  const auto step = [&](auto change) {
    v1::ParameterRequest request = memory.StepMessage(0, 0, 1);
    change(request);
    return client.Call(request);
  };
  using R = v1::ParameterRequest;
  const auto code = absl::StatusCode::kInvalidArgument;
  const uint64_t end = memory.segment->bytes();
  ExpectRefused(step([&](R& r) { r.set_shared_payload_offset(end - 4); }), code, "SHARED_RANGE_INVALID");
  ExpectRefused(step([&](R& r) { r.set_shared_payload_bytes(end); }), code, "SHARED_RANGE_INVALID");
  ExpectRefused(step([&](R& r) { r.set_shared_answer_offset(end - 4); }), code, "SHARED_RANGE_INVALID");
  ExpectRefused(step([&](R& r) { r.set_shared_answer_offset(4098); }), code, "SHARED_RANGE_INVALID");
  ExpectRefused(step([&](R& r) { r.set_payload("abcd"); }), code, "SHARED_RANGE_INVALID");
  ExpectRefused(step([&](R& r) { r.set_shared_payload_bytes(8); }), code, "PARAM_SHAPE_MISMATCH");
  EXPECT_EQ(step([](R&) {}).code(), 0) << "nothing of the above was applied";
}

TEST(SharedMemoryServiceTest, ACancelledStreamLetsGoOfTheMemory) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 2})));
  ClientMemory memory;
  const int mapped = MappedSegments();
  for (int i = 0; i < 12; ++i) {
    ExchangeClient client(service.unix_address());
    ASSERT_EQ(client.Call(memory.AttachMessage()).code(), 0);
    v1::ParameterRequest pull = memory.StepMessage(1, 0, 1);
    pull.set_operation(v1::OPERATION_PULL);
    client.Send(pull);  // Waits for a version that does not come.
    ASSERT_EQ(client.Call(PullMessage(0, 3)).code(), 0);
    EXPECT_GE(MappedSegments(), mapped + 1);
  }
  Await([&] { return service.metrics().attached_segments().Value() == 0; });
  EXPECT_EQ(MappedSegments(), mapped);
}

// The other process of the next test; does nothing on its own.
TEST(SharedMemoryPeer, Run) {
  const char* address = std::getenv("PARAMD_TEST_PEER_ADDRESS");
  if (address == nullptr) GTEST_SKIP() << "not started by PeerIsKilled";
  ClientMemory memory;
  ExchangeClient client(address);
  ASSERT_EQ(client.Call(memory.AttachMessage()).code(), 0);
  // Pushes and pulls that wait until the end, and others that come and go.
  for (uint32_t chunk = 0; chunk < 4; ++chunk) client.Send(memory.StepMessage(chunk, 0, 1));
  for (;;) {
    v1::ParameterRequest pull = memory.StepMessage(0, 0, 1);
    pull.set_operation(v1::OPERATION_PULL);
    pull.set_min_version(0);
    client.Call(pull);
  }
}

pid_t StartPeer(const std::string& address) {
  const std::string variable = absl::StrCat("PARAMD_TEST_PEER_ADDRESS=", address);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!absl::StartsWith(*entry, "TESTBRIDGE_") && !absl::StartsWith(*entry, "GTEST_")) environment.push_back(*entry);
  }
  environment.push_back(const_cast<char*>(variable.c_str()));
  environment.push_back(nullptr);
  char program[] = "/proc/self/exe", filter[] = "--gtest_filter=SharedMemoryPeer.Run";
  char* arguments[] = {program, filter, nullptr};
  pid_t pid = 0;
  EXPECT_EQ(posix_spawn(&pid, program, nullptr, nullptr, arguments, environment.data()), 0);
  return pid;
}

TEST(SharedMemoryServiceTest, PeerIsKilled) {
  TestService service;
  ASSERT_OK(service.Prepare(TestAssignment({.slots = 2})));
  const int mapped = MappedSegments();
  for (int i = 0; i < 3; ++i) {
    const pid_t peer = StartPeer(service.unix_address());
    ExchangeClient watcher(service.unix_address());
    Await([&] { return service.metrics().attached_segments().Value() == 1; });
    absl::SleepFor(absl::Milliseconds(20 * i));  // Into the middle of its requests.
    EXPECT_EQ(MappedSegments(), mapped + 1);
    ASSERT_EQ(kill(peer, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(peer, &status, 0), peer);
    EXPECT_TRUE(WIFSIGNALED(status));
    Await([&] { return service.metrics().attached_segments().Value() == 0; });
    EXPECT_EQ(MappedSegments(), mapped);
    EXPECT_EQ(watcher.Call(PullMessage(0, 0)).code(), 0);
  }
}

}  // namespace
}  // namespace paramd
