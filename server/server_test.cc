// The daemon over real ports, spoken to by a plain gRPC client; the test plays the coordinator.
#include "server/server.h"

#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/crc32c.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "gtest/gtest.h"
#include "proto/parameter.grpc.pb.h"
#include "server/checkpoint/weights_writer.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

constexpr int64_t kElements = 1024;  // Of chunks 0 to 3 of the test job.

std::string Bytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

v1::ParameterRequest Pull(uint32_t worker, uint32_t chunk, uint64_t min_version = 0, uint64_t min_clock = 0) {
  v1::ParameterRequest request;
  request.set_job_id("job-1");
  request.set_generation(kTestGeneration);
  request.set_worker_index(worker);
  request.set_worker_incarnation(TestIncarnation(worker));
  request.set_operation(v1::OPERATION_PULL);
  request.set_chunk(chunk);
  request.set_codec(v1::CODEC_FP32);
  request.set_min_version(min_version);
  request.set_min_clock(min_clock);
  return request;
}

v1::ParameterRequest Push(uint32_t worker, uint32_t chunk, uint64_t step, Subtree subtree, uint32_t slots,
                          const std::vector<float>& gradient) {
  v1::ParameterRequest request = Pull(worker, chunk);
  request.set_operation(v1::OPERATION_PUSH);
  request.set_step(step);
  request.set_first_slot(subtree.first_slot);
  request.set_log2_size(subtree.log2_size);
  request.set_slot_count(slots);
  request.set_payload(Bytes(gradient));
  request.set_crc32c(Crc32c(absl::string_view(request.payload().data(), request.payload().size())));
  return request;
}

// One Exchange stream. Not thread safe.
class Client {
 public:
  explicit Client(int port)
      : stub_(v1::ParameterService::NewStub(CreateChannel(
            absl::StrCat("127.0.0.1:", port), {.kind = ChannelKind::kBulk, .max_message_bytes = 8 << 20}))) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(50));
    stream_ = stub_->Exchange(&context_);
  }
  ~Client() {
    context_.TryCancel();
    stream_->Finish();
  }
  uint64_t Send(v1::ParameterRequest request) {
    request.set_request_id(++last_id_);
    EXPECT_TRUE(stream_->Write(request));
    return last_id_;
  }
  v1::ParameterResponse Receive() {
    v1::ParameterResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  v1::ParameterResponse Call(v1::ParameterRequest request) {
    const uint64_t id = Send(std::move(request));
    v1::ParameterResponse response = Receive();
    EXPECT_EQ(response.request_id(), id);
    return response;
  }
  v1::ParameterService::Stub& stub() { return *stub_; }
  grpc::ClientReaderWriter<v1::ParameterRequest, v1::ParameterResponse>& stream() { return *stream_; }

 private:
  std::unique_ptr<v1::ParameterService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ParameterRequest, v1::ParameterResponse>> stream_;
  uint64_t last_id_ = 0;
};

std::unique_ptr<ParameterServer> StartServer(ServerOptions options = {}) {
  options.listen = options.metrics_listen = "127.0.0.1:0";
  options.coordinator = "127.0.0.1:1";  // Nobody there: the test gives the commands.
  options.output_dir = absl::StrCat(testing::TempDir(), "/output");
  options.threads = 2;
  auto server = ParameterServer::Start(options);
  EXPECT_OK(server);
  return *std::move(server);
}

absl::StatusOr<int64_t> Prepare(ParameterServer& server, const v1::JobAssignment& assignment, uint32_t index = 0) {
  absl::Notification done;
  absl::StatusOr<int64_t> result;
  server.jobs().Prepare(assignment, index, [&](absl::StatusOr<int64_t> memory) {
    result = memory;
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

void Release(ParameterServer& server) {
  absl::Notification done;
  server.jobs().Release("job-1", kTestGeneration, "test", [&] { done.Notify(); });
  done.WaitForNotification();
}

void ExpectRefused(const v1::ParameterResponse& response, absl::StatusCode code, const std::string& reason) {
  EXPECT_EQ(response.code(), static_cast<int>(code)) << response.message();
  EXPECT_EQ(response.reason(), reason) << response.message();
}

TEST(ServerTest, SyncStepOverTheWire) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(*server, TestAssignment({.workers = 2, .slots = 4})));
  Client a(server->port()), b(server->port());
  const std::vector<float> before = Floats(a.Call(Pull(0, 1)).payload());
  ASSERT_EQ(before.size(), static_cast<size_t>(kElements));
  const std::vector<float> low = TestGradientSum(kElements, 0, 2, 0, 1), high = TestGradientSum(kElements, 2, 2, 0, 1);
  v1::ParameterRequest last = Push(0, 1, 0, {0, 1}, 2, low);
  last.set_operation(v1::OPERATION_PUSH_PULL);
  last.set_min_version(1);
  a.Send(last);
  EXPECT_EQ(b.Call(Push(1, 1, 0, {2, 1}, 2, high)).code(), 0);
  EXPECT_TRUE(b.Call(Push(1, 1, 0, {2, 1}, 2, high)).duplicate());
  const v1::ParameterResponse answer = a.Receive();
  EXPECT_EQ(answer.code(), 0);
  EXPECT_EQ(answer.version(), 1u);
  EXPECT_EQ(answer.crc32c(), 0u) << "the test's peer is at loopback";
  const std::vector<float> after = Floats(answer.payload());
  for (int64_t i = 0; i < kElements; ++i) ASSERT_EQ(after[i], before[i] - (low[i] + high[i]) * 0.25f);
}

TEST(ServerTest, RefusalsHaveTheirCodeAndReason) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(*server, TestAssignment({.workers = 1, .slots = 4})));
  Client client(server->port());
  const std::vector<float> gradient = TestGradient(kElements, 0, 0, 0);
  const auto push = [&](auto change) {
    v1::ParameterRequest request = Push(0, 0, 0, {0, 0}, 1, gradient);
    change(request);
    return client.Call(request);
  };
  using R = v1::ParameterRequest;
  using Code = absl::StatusCode;
  ExpectRefused(push([](R& r) { r.set_job_id("other"); }), Code::kUnavailable, "JOB_NOT_READY");  // Not registered.
  ExpectRefused(push([](R& r) { r.set_generation(2); }), Code::kFailedPrecondition, "GENERATION_FENCED");
  ExpectRefused(push([](R& r) { r.set_worker_incarnation(1); }), Code::kFailedPrecondition, "INCARNATION_FENCED");
  ExpectRefused(push([](R& r) { r.set_worker_index(9); }), Code::kInvalidArgument, "INVALID_WORKER");
  ExpectRefused(push([](R& r) { r.set_chunk(77); }), Code::kInvalidArgument, "INVALID_CHUNK");
  ExpectRefused(push([](R& r) { r.set_operation(v1::OPERATION_UNSPECIFIED); }), Code::kInvalidArgument,
                "INVALID_OPERATION");
  ExpectRefused(push([](R& r) { r.set_codec(v1::CODEC_UNSPECIFIED); }), Code::kInvalidArgument, "UNSUPPORTED_CODEC");
  ExpectRefused(push([](R& r) { r.set_crc32c(r.crc32c() + 1); }), Code::kDataLoss, "CHECKSUM_MISMATCH");
  ExpectRefused(push([](R& r) { (*r.mutable_payload())[5] ^= 1; }), Code::kDataLoss, "CHECKSUM_MISMATCH");
  ExpectRefused(push([](R& r) {
                  r.mutable_payload()->resize(8);
                  r.set_crc32c(Crc32c(absl::string_view(r.payload().data(), 8)));
                }),
                Code::kInvalidArgument, "PARAM_SHAPE_MISMATCH");
  ExpectRefused(push([](R& r) { r.set_first_slot(1), r.set_log2_size(1); }), Code::kInvalidArgument, "INVALID_SUBTREE");
  ExpectRefused(push([](R& r) { r.set_slot_count(2); }), Code::kInvalidArgument, "INVALID_SUBTREE");
  ExpectRefused(push([](R& r) { r.set_step(1); }), Code::kFailedPrecondition, "STEP_AHEAD");
  EXPECT_EQ(push([](R& r) {}).code(), 0);  // The stream goes on.
}

TEST(ServerTest, WaitingPullsEndAtTheirDeadline) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(*server, TestAssignment()));
  Client client(server->port());
  v1::ParameterRequest pull = Pull(0, 0, 1);
  pull.set_deadline_ms(50);
  ExpectRefused(client.Call(pull), absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED");
}

TEST(ServerTest, ReleaseAnswersWhatWaitsAndFreesTheMemory) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(*server, TestAssignment()));
  EXPECT_GT(server->jobs().memory_used_bytes(), 0);
  Client client(server->port());
  client.Send(Pull(0, 0, 1));
  client.Call(Pull(0, 4000));  // Refused, and so behind the first on its way in.
  Release(*server);
  EXPECT_EQ(server->jobs().memory_used_bytes(), 0);
  ExpectRefused(client.Receive(), absl::StatusCode::kFailedPrecondition, "JOB_RELEASED");
  ExpectRefused(client.Call(Pull(0, 0)), absl::StatusCode::kUnavailable, "JOB_NOT_READY");
}

TEST(ServerTest, MemoryLimitIsRefusedWithNumbers) {
  const auto server = StartServer({.memory_limit = "10KiB"});
  const absl::Status status = Prepare(*server, TestAssignment()).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, "MEMORY_LIMIT_EXCEEDED"));
  EXPECT_EQ(GetErrorMetadata(status)["availableBytes"], "10240");
  EXPECT_NE(GetErrorMetadata(status)["neededBytes"], "");
  EXPECT_EQ(server->jobs().memory_used_bytes(), 0);
}

TEST(ServerTest, AnEarlierLifesMemoryDoesNotCountAgainstTheNext) {
  v1::JobAssignment assignment = TestAssignment();
  const int64_t needed = (*JobPlan::Create(assignment, 0))->memory_bytes();
  const auto server = StartServer({.memory_limit = absl::StrCat(needed * 3 / 2)});
  ASSERT_OK(Prepare(*server, assignment));
  std::shared_ptr<ServerJob> earlier = server->jobs().Find("job-1");
  assignment.set_generation(kTestGeneration + 1);
  EXPECT_OK(Prepare(*server, assignment));
  EXPECT_EQ(server->jobs().memory_used_bytes(), 2 * needed);
  assignment.set_generation(kTestGeneration + 2);
  EXPECT_OK(Prepare(*server, assignment)) << "while two are on their way out";
  assignment.set_job_id("job-2");
  EXPECT_THAT(Prepare(*server, assignment), StatusIs(absl::StatusCode::kResourceExhausted, "MEMORY_LIMIT_EXCEEDED"));
  earlier = nullptr;
  while (server->jobs().memory_used_bytes() > needed) absl::SleepFor(absl::Milliseconds(1));
}

TEST(ServerTest, PrepareAgainAndGenerations) {
  const auto server = StartServer();
  v1::JobAssignment assignment = TestAssignment();
  ASSERT_OK(Prepare(*server, assignment));
  EXPECT_OK(Prepare(*server, assignment));
  assignment.set_generation(kTestGeneration - 1);
  EXPECT_THAT(Prepare(*server, assignment), StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  assignment.set_generation(kTestGeneration + 1);
  EXPECT_OK(Prepare(*server, assignment));
  ASSERT_EQ(server->jobs().Held().size(), 1u);
  EXPECT_EQ(server->jobs().Held()[0].generation(), kTestGeneration + 1);
}

TEST(ServerTest, NonFiniteGradientFailsTheJobByPolicy) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(*server, TestAssignment({.slots = 1})));
  Client client(server->port());
  std::vector<float> gradient(kElements, 1.0f);
  gradient[3] = std::numeric_limits<float>::quiet_NaN();
  ExpectRefused(client.Call(Push(0, 0, 0, {0, 0}, 1, gradient)), absl::StatusCode::kInvalidArgument,
                "NON_FINITE_GRADIENT");
  ExpectRefused(client.Call(Pull(0, 0)), absl::StatusCode::kInvalidArgument, "NON_FINITE_GRADIENT");
}

TEST(ServerTest, NonFiniteGradientIsSkippedByPolicy) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(
      *server, TestAssignment({.mode = v1::SYNC_MODE_ASYNC, .slots = 1, .non_finite = v1::NON_FINITE_POLICY_SKIP})));
  Client client(server->port());
  const std::string before = client.Call(Pull(0, 0)).payload();
  EXPECT_EQ(client.Call(Push(0, 0, 0, {}, 1, std::vector<float>(kElements, INFINITY))).code(), 0);
  const v1::ParameterResponse after = client.Call(Pull(0, 0));
  EXPECT_EQ(after.version(), 1u);
  EXPECT_EQ(after.payload(), before);
}

// Each worker pushes integers, some twice; SGD with rate 1 makes the weights count them exactly.
void RunLedgerJob(v1::SyncMode mode) {
  constexpr uint32_t kWorkers = 3, kSteps = 10, kStaleness = 2;
  const auto server = StartServer();
  ASSERT_OK(Prepare(
      *server, TestAssignment(
                   {.mode = mode, .staleness = kStaleness, .workers = kWorkers, .slots = kWorkers, .steps = kSteps})));
  // Chunk 4 starts with the 64 biases of layer 0.
  constexpr uint32_t kChunk = 4;
  const std::vector<float> initial = Floats(Client(server->port()).Call(Pull(0, kChunk)).payload());
  const size_t elements = initial.size();
  std::vector<std::thread> threads;
  for (uint32_t worker = 0; worker < kWorkers; ++worker) {
    threads.emplace_back([&, worker] {
      Client client(server->port());
      for (uint64_t step = 0; step < kSteps; ++step) {
        const uint64_t min_clock = mode == v1::SYNC_MODE_SSP && step > kStaleness ? step - kStaleness : 0;
        const v1::ParameterResponse weights = client.Call(Pull(worker, kChunk, 0, min_clock));
        ASSERT_EQ(weights.code(), 0) << weights.message();
        if (mode == v1::SYNC_MODE_SSP) {
          ASSERT_GE(weights.min_clock() + kStaleness, step);
        }
        const v1::ParameterRequest push =
            Push(worker, kChunk, step, {}, 1, TestGradient(elements, worker, step, kChunk));
        ASSERT_FALSE(client.Call(push).duplicate());
        if ((step + worker) % 3 == 0) {
          ASSERT_TRUE(client.Call(push).duplicate());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const v1::ParameterResponse last = Client(server->port()).Call(Pull(0, kChunk, 0, kSteps));
  ASSERT_EQ(last.code(), 0);
  EXPECT_EQ(last.version(), kSteps * kWorkers);
  std::vector<float> expected(64, 0.0f);
  for (uint64_t step = 0; step < kSteps; ++step) {
    const std::vector<float> sum = TestGradientSum(elements, 0, kWorkers, step, kChunk);
    for (int i = 0; i < 64; ++i) expected[i] -= sum[i];
  }
  const std::vector<float> final_weights = Floats(last.payload());
  // Every gradient is an integer: a lost or repeated push shows as a difference of at least 1, rounding as 1e-5.
  for (int i = 0; i < 64; ++i) EXPECT_NEAR(final_weights[i] - initial[i], expected[i], 1e-3) << i;
}

TEST(ServerTest, AsyncLosesNoPushAndAppliesNoneTwice) { RunLedgerJob(v1::SYNC_MODE_ASYNC); }
TEST(ServerTest, SspLosesNoPushAndKeepsTheBound) { RunLedgerJob(v1::SYNC_MODE_SSP); }

TEST(ServerTest, SequenceGapIsRefused) {
  const auto server = StartServer();
  ASSERT_OK(Prepare(*server, TestAssignment({.mode = v1::SYNC_MODE_ASYNC, .slots = 1})));
  Client client(server->port());
  ExpectRefused(client.Call(Push(0, 0, 1, {}, 1, TestGradient(kElements, 0, 1, 0))),
                absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP");
}

// Trains clipped steps over `count` servers and saves the result; returns its SHA-256.
std::string TrainClipped(uint32_t count) {
  constexpr uint64_t kSteps = 4;
  std::vector<std::unique_ptr<ParameterServer>> servers;
  v1::JobAssignment assignment = TestAssignment({.servers = count,
                                                 .steps = kSteps,
                                                 .optimizer = v1::OPTIMIZER_TYPE_ADAMW,
                                                 .learning_rate = 0.01,
                                                 .clip_norm = 2});
  std::vector<std::unique_ptr<Client>> clients;
  for (uint32_t i = 0; i < count; ++i) {
    servers.push_back(StartServer());
    clients.push_back(std::make_unique<Client>(servers[i]->port()));
    assignment.mutable_placement()->mutable_servers(i)->set_address(absl::StrCat("127.0.0.1:", servers[i]->port()));
  }
  for (uint32_t i = 0; i < count; ++i) EXPECT_OK(Prepare(*servers[i], assignment, i));
  std::map<uint32_t, size_t> sizes;
  for (uint32_t chunk = 0; chunk < 5; ++chunk) {
    sizes[chunk] = Floats(clients[chunk % count]->Call(Pull(0, chunk)).payload()).size();
  }
  for (uint64_t step = 0; step < kSteps; ++step) {
    for (uint32_t chunk = 0; chunk < 5; ++chunk) {
      v1::ParameterRequest push = Push(0, chunk, step, {0, 2}, 4, TestGradientSum(sizes[chunk], 0, 4, step, chunk));
      push.set_operation(v1::OPERATION_PUSH_PULL);
      push.set_min_version(step + 1);
      clients[chunk % count]->Send(push);
    }
    for (uint32_t chunk = 0; chunk < 5; ++chunk) {
      const v1::ParameterResponse answer = clients[chunk % count]->Receive();
      EXPECT_EQ(answer.code(), 0) << answer.message();
      EXPECT_EQ(answer.version(), step + 1);
    }
  }
  const auto plan = JobPlan::Create(assignment, 0);
  const std::string directory = absl::StrCat(testing::TempDir(), "/clipped-", count);
  const auto saved = SaveWeights(**plan, directory, RemoteChunkFetcher(**plan, absl::Seconds(10)));
  EXPECT_OK(saved);
  EXPECT_EQ(saved->step(), kSteps);
  return saved->sha256();
}

TEST(ServerTest, ClippingGivesTheSameBitsOnAnyNumberOfServers) {
  const std::string one = TrainClipped(1);
  EXPECT_EQ(one.size(), 64u);
  EXPECT_EQ(TrainClipped(2), one);
  EXPECT_EQ(TrainClipped(3), one);
}

}  // namespace
}  // namespace paramd
