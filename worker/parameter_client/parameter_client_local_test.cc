// The parameter client beside its server: unix sockets and shared memory, and what happens without them.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/shared_memory.h"
#include "common/base/status_macros.h"
#include "common/base/status_matchers.h"
#include "common/partition/codec_plan.h"
#include "common/tensor/codec_half.h"
#include "gmock/gmock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "worker/parameter_client/fake_parameter_service.h"
#include "worker/parameter_client/parameter_client.h"

namespace paramd {
namespace {

constexpr int64_t kElements = 2064;  // Chunks of 1024, 1024 and 16.

ArenaPlan TestPlan() {
  ParameterSpec parameter;
  parameter.name = "p";
  parameter.shape = {kElements};
  return ArenaPlan::Create({parameter}, 1024).value();
}

std::string SocketPath() {
  static int count = 0;
  return absl::StrCat("/tmp/paramd-client-test-", getpid(), "-", count++);
}

class ParameterClientLocalTest : public testing::Test {
 protected:
  void StartService(FakeParameterOptions options = {}) {
    if (options.local_socket.empty()) options.local_socket = SocketPath();
    service_ = std::make_unique<FakeParameterService>(plan_, options);
    service_->Start();
    options_.caller = {.job_id = "job", .generation = 1, .worker_index = 0, .worker_incarnation = 5};
    options_.placement = service_->placement();
    options_.streams_per_server = 1;
    options_.reconnect = {.initial_backoff = absl::Milliseconds(5), .max_backoff = absl::Milliseconds(20)};
    segment_ = SharedSegment::Create(1 << 20).value();
    gradient_ = segment_->AllocateFloats(kElements);
    landing_ = segment_->AllocateFloats(kElements);
    options_.segment = segment_;
  }
  void Connect() { client_ = ParameterClient::Create(options_, plan_).value(); }

  absl::Span<float> Part(absl::Span<float> arena, int chunk) const {
    return arena.subspan(plan_.ChunkRange(chunk).begin, plan_.ChunkRange(chunk).size());
  }

  // A sync step of the only worker: gradients of 8 * (step + 1) at a learning rate of 1/8, all chunks.
  absl::Status Step(uint64_t step) {
    std::fill(gradient_.begin(), gradient_.end(), 8.0f * static_cast<float>(step + 1));
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
      RETURN_IF_ERROR(client_->PushPull(chunk, {.step = step, .slot_count = 1, .payload = Part(gradient_, chunk)},
                                        {.min_version = step + 1, .landing = Part(landing_, chunk)}));
    }
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(client_->WaitForChunk(chunk).status());
    return absl::OkStatus();
  }
  // What the weights are after `steps` steps.
  static float Expected(uint64_t steps) { return -0.5f * static_cast<float>(steps * (steps + 1)); }

  int streams(StreamTransport transport) const { return client_->stats().streams[static_cast<int>(transport)]; }

  const ArenaPlan plan_ = TestPlan();
  std::unique_ptr<FakeParameterService> service_;
  ParameterClientOptions options_;
  std::shared_ptr<SharedSegment> segment_;
  absl::Span<float> gradient_;
  absl::Span<float> landing_;
  std::unique_ptr<ParameterClient> client_;  // Gone before what it borrows.
};

TEST_F(ParameterClientLocalTest, PayloadsAndWeightsGoThroughSharedMemory) {
  StartService();
  Connect();
  ASSERT_OK(client_->WaitForConnections(absl::Seconds(10)));
  for (uint64_t step = 0; step < 4; ++step) {
    ASSERT_OK(Step(step));
    EXPECT_THAT(landing_, testing::Each(Expected(step + 1)));
  }
  EXPECT_EQ(service_->shared_memory_use().pushes, 12);
  EXPECT_EQ(service_->shared_memory_use().pulls, 12);
  EXPECT_EQ(service_->shared_memory_use().attached, 1);
  EXPECT_EQ(streams(StreamTransport::kSharedMemory), 1);
  const ParameterClientStats stats = client_->stats();
  EXPECT_EQ(stats.pushed_bytes, 4 * kElements * 4);
  EXPECT_EQ(stats.pulled_bytes, 4 * kElements * 4);
  EXPECT_EQ(stats.in_flight_bytes, 0);
  EXPECT_EQ(stats.shared_memory_refusals, 0);
}

TEST_F(ParameterClientLocalTest, WhatLiesElsewhereGoesInMessages) {
  StartService();
  std::vector<float> gradient(1024, 8.0f);
  std::vector<float> landing(1024);
  Connect();
  ASSERT_OK(client_->PushPull(0, {.step = 0, .slot_count = 1, .payload = gradient},
                              {.min_version = 1, .landing = absl::MakeSpan(landing)}));
  ASSERT_OK(client_->WaitForChunk(0));
  EXPECT_THAT(landing, testing::Each(-1.0f));
  EXPECT_EQ(service_->shared_memory_use().attached, 1);
  EXPECT_EQ(service_->shared_memory_use().pushes, 0);
  EXPECT_EQ(service_->shared_memory_use().pulls, 0);
}

TEST_F(ParameterClientLocalTest, RefusedMemoryIsDoneWithout) {
  StartService({.take_shared_memory = false});
  Connect();
  ASSERT_OK(Step(0));
  EXPECT_THAT(landing_, testing::Each(Expected(1)));
  EXPECT_EQ(service_->shared_memory_use().refused, 1);
  EXPECT_EQ(service_->shared_memory_use().pushes, 0);
  EXPECT_EQ(client_->stats().shared_memory_refusals, 1);
  EXPECT_EQ(streams(StreamTransport::kUnix), 1);
}

TEST_F(ParameterClientLocalTest, MemoryIsOfferedAgainAfterAReconnection) {
  for (Fault fault : {Fault::kBreakBefore, Fault::kBreakAfter}) {
    StartService();
    Connect();
    ASSERT_OK(Step(0));
    auto breaks = std::make_shared<int>(1);
    service_->SetFault([=](const v1::ParameterRequest& request) {
      return request.chunk() == 1 && (*breaks)-- > 0 ? fault : Fault::kNone;
    });
    ASSERT_OK(Step(1));
    EXPECT_THAT(landing_, testing::Each(Expected(2)));
    EXPECT_EQ(service_->shared_memory_use().attached, 2);
    EXPECT_EQ(service_->applied_pushes(), 6);
    EXPECT_EQ(streams(StreamTransport::kSharedMemory), 1);
    client_.reset();
  }
}

TEST_F(ParameterClientLocalTest, OptionsSayWhatIsUsed) {
  struct Case {
    const char* name;
    TransportPolicy transport;
    bool shared_memory;
    ChecksumPolicy checksum;
    StreamTransport expected;
    bool checked;
  };
  const Case cases[] = {
      {"auto", TransportPolicy::kAuto, true, ChecksumPolicy::kAuto, StreamTransport::kSharedMemory, false},
      {"unix", TransportPolicy::kUnix, false, ChecksumPolicy::kAuto, StreamTransport::kUnix, false},
      {"tcp on loopback", TransportPolicy::kTcp, true, ChecksumPolicy::kAuto, StreamTransport::kTcp, false},
      {"tcp, checked", TransportPolicy::kTcp, true, ChecksumPolicy::kAlways, StreamTransport::kTcp, true},
      {"unix, checked", TransportPolicy::kUnix, false, ChecksumPolicy::kAlways, StreamTransport::kUnix, true},
      {"shared, checked", TransportPolicy::kAuto, true, ChecksumPolicy::kAlways, StreamTransport::kSharedMemory, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    StartService();
    auto checked = std::make_shared<int>(0);
    service_->SetFault([checked](const v1::ParameterRequest& request) {
      *checked += request.crc32c() != 0 ? 1 : 0;
      return Fault::kNone;
    });
    options_.transport = c.transport;
    options_.shared_memory = c.shared_memory;
    options_.checksum = c.checksum;
    Connect();
    ASSERT_OK(Step(0));
    EXPECT_THAT(landing_, testing::Each(Expected(1)));
    EXPECT_EQ(streams(c.expected), 1);
    EXPECT_EQ(*checked, c.checked ? 3 : 0);
    EXPECT_EQ(service_->shared_memory_use().pushes, c.expected == StreamTransport::kSharedMemory ? 3 : 0);
    client_.reset();
  }
}

TEST_F(ParameterClientLocalTest, EachStreamHasItsConnection) {
  StartService();
  options_.streams_per_server = 2;
  Connect();
  ASSERT_OK(Step(0));
  EXPECT_EQ(streams(StreamTransport::kSharedMemory), 2);
  EXPECT_EQ(service_->shared_memory_use().attached, 2);
  EXPECT_EQ(service_->shared_memory_use().pushes, 3);
}

TEST_F(ParameterClientLocalTest, TcpIsTakenWhenTheSocketIsNotThere) {
  StartService();
  options_.placement.mutable_servers(0)->set_local_address("unix:" + SocketPath());
  Connect();
  ASSERT_OK(Step(0));
  EXPECT_EQ(streams(StreamTransport::kTcp), 1);
}

// Somebody listens there who is no server of the job.
TEST_F(ParameterClientLocalTest, TcpIsTakenWhenTheSocketIsSomebodyElses) {
  const std::string other_path = SocketPath();
  v1::ParameterService::Service unimplemented;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + other_path, grpc::InsecureServerCredentials());
  builder.RegisterService(&unimplemented);
  const std::unique_ptr<grpc::Server> other = builder.BuildAndStart();
  const std::string breaking = SocketPath();
  FakeParameterService broken(plan_, {.local_socket = breaking});
  broken.SetFault([](const v1::ParameterRequest&) { return Fault::kBreakBefore; });
  broken.Start();
  for (const std::string& path : {other_path, breaking}) {
    StartService();
    options_.placement.mutable_servers(0)->set_local_address("unix:" + path);
    options_.shared_memory = false;
    Connect();
    ASSERT_OK(Step(0));
    EXPECT_THAT(landing_, testing::Each(Expected(1)));
    EXPECT_EQ(streams(StreamTransport::kTcp), 1);
    EXPECT_EQ(client_->stats().reconnections, 2);
    client_.reset();
  }
}

TEST_F(ParameterClientLocalTest, UnixAloneNeedsAnAddress) {
  StartService();
  options_.transport = TransportPolicy::kUnix;
  options_.placement.mutable_servers(0)->clear_local_address();
  EXPECT_THAT(ParameterClient::Create(options_, plan_),
              StatusIs(absl::StatusCode::kFailedPrecondition, "NO_LOCAL_ADDRESS"));
}

// A server that knows no ATTACH and never answers it.
TEST_F(ParameterClientLocalTest, OfferThatIsNotAnsweredIsGivenUp) {
  StartService({.ignore_attach = true});
  options_.answer_grace = absl::Milliseconds(50);
  Connect();
  ASSERT_OK(Step(0));
  EXPECT_THAT(landing_, testing::Each(Expected(1)));
  EXPECT_EQ(streams(StreamTransport::kUnix), 1);
  EXPECT_EQ(client_->stats().reconnections, 1);
}

class ParameterClientCodecTest : public ParameterClientLocalTest {
 protected:
  void UseCodecs(v1::Codec push, v1::Codec pull) {
    v1::JobSpec spec;
    spec.mutable_communication()->set_push_codec(push);
    spec.mutable_communication()->set_pull_codec(pull);
    spec.mutable_communication()->set_topk_ratio(0.01);
    codecs_ = CodecPlan::Create(spec, plan_).value();
    options_.codecs = &codecs_;
  }

  static float Value(int64_t i) { return static_cast<float>(i % 101) * 0.37f - 17.0f; }

  // What the server makes of the gradients Value(i) pushed `steps` times, by the codec alone.
  std::vector<float> Reference(int chunk, int steps) {
    const int64_t n = plan_.ChunkRange(chunk).size();
    std::vector<float> weights(n, 0), residual(n, 0), values(n), decoded(n);
    for (int64_t i = 0; i < n; ++i) values[i] = Value(plan_.ChunkRange(chunk).begin + i);
    for (int step = 0; step < steps; ++step) {
      std::string bytes;
      EXPECT_OK(EncodeChunk(codecs_, chunk, values,
                            codecs_.NeedsResidual(chunk) ? absl::MakeSpan(residual) : absl::Span<float>(), bytes));
      EXPECT_OK(DecodeChunk(codecs_, chunk, codecs_.CodecOf(chunk), bytes, absl::MakeSpan(decoded)));
      for (int64_t i = 0; i < n; ++i) weights[i] -= 0.125f * decoded[i];
    }
    return weights;
  }

  absl::Status CodecStep(uint64_t step, std::vector<float>& residual) {
    for (int64_t i = 0; i < kElements; ++i) gradient_[i] = Value(i);
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
      const absl::Span<float> lost = Part(absl::MakeSpan(residual), chunk);
      RETURN_IF_ERROR(
          client_->PushPull(chunk, {.step = step, .slot_count = 1, .payload = Part(gradient_, chunk), .residual = lost},
                            {.min_version = step + 1, .landing = Part(landing_, chunk)}));
    }
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) RETURN_IF_ERROR(client_->WaitForChunk(chunk).status());
    return absl::OkStatus();
  }

  CodecPlan codecs_;
};

TEST_F(ParameterClientCodecTest, PushesWhatTheCodecMakesWithErrorFeedbackOverEveryTransport) {
  for (v1::Codec codec :
       {v1::CODEC_FP32, v1::CODEC_BF16, v1::CODEC_FP16, v1::CODEC_INT8, v1::CODEC_TOPK, v1::CODEC_ONEBIT}) {
    for (TransportPolicy transport : {TransportPolicy::kTcp, TransportPolicy::kAuto}) {
      SCOPED_TRACE(absl::StrCat("codec ", static_cast<int>(codec), " transport ", static_cast<int>(transport)));
      UseCodecs(codec, v1::CODEC_FP32);
      StartService({.codecs = &codecs_});
      options_.transport = transport;
      Connect();
      std::vector<float> residual(kElements, 0);
      for (uint64_t step = 0; step < 3; ++step) ASSERT_OK(CodecStep(step, residual));
      int64_t wire = 0;
      for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
        EXPECT_THAT(Part(landing_, chunk), testing::ElementsAreArray(Reference(chunk, 3)));
        wire += static_cast<int64_t>(codecs_.MaxEncodedBytes(chunk));
      }
      const ParameterClientStats stats = client_->stats();
      EXPECT_LE(stats.pushed[codec].wire_bytes, 3 * wire);
      EXPECT_GE(stats.pushed[codec].wire_bytes, wire);
      EXPECT_EQ(stats.pushed[codec].raw_bytes, 3 * kElements * 4);
      EXPECT_EQ(stats.pulled[v1::CODEC_FP32].raw_bytes, 3 * kElements * 4);
      EXPECT_EQ(service_->shared_memory_use().pushes, transport == TransportPolicy::kTcp ? 0 : 9);
      client_.reset();
    }
  }
}

TEST_F(ParameterClientCodecTest, RetriesSendTheSameBytesAndLoseNothing) {
  UseCodecs(v1::CODEC_ONEBIT, v1::CODEC_FP32);
  StartService({.codecs = &codecs_});
  options_.transport = TransportPolicy::kTcp;
  Connect();
  auto requests = std::make_shared<int>(0);
  service_->SetFault([requests](const v1::ParameterRequest&) {
    const int i = (*requests)++;
    return i % 4 == 1 ? Fault::kBreakAfter : i % 7 == 2 ? Fault::kDamagedRequest : Fault::kNone;
  });
  std::vector<float> residual(kElements, 0);
  for (uint64_t step = 0; step < 5; ++step) ASSERT_OK(CodecStep(step, residual));
  for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
    EXPECT_THAT(Part(landing_, chunk), testing::ElementsAreArray(Reference(chunk, 5)));
  }
  EXPECT_EQ(service_->seen().size(), 15u);
  EXPECT_GT(client_->stats().retries, 5);
}

TEST_F(ParameterClientCodecTest, PullsBf16InMessagesAndInPlace) {
  std::vector<float> weights(kElements), rounded(kElements);
  for (int64_t i = 0; i < kElements; ++i) weights[i] = Value(i) * 1.001f;
  std::vector<uint16_t> halves(kElements);
  EncodeBf16(weights, absl::MakeSpan(halves));
  DecodeBf16(reinterpret_cast<const char*>(halves.data()), absl::MakeSpan(rounded));
  for (bool shared : {false, true}) {
    UseCodecs(v1::CODEC_FP32, v1::CODEC_BF16);
    StartService();
    service_->SetWeights(weights);
    options_.shared_memory = shared;
    Connect();
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
      ASSERT_OK(client_->Pull(chunk, {.landing = Part(landing_, chunk)}));
      ASSERT_OK(client_->WaitForChunk(chunk));
    }
    EXPECT_THAT(landing_, testing::ElementsAreArray(rounded));
    EXPECT_EQ(service_->shared_memory_use().pulls, shared ? 3 : 0);
    EXPECT_EQ(client_->stats().pulled[v1::CODEC_BF16].wire_bytes, kElements * 2);
    EXPECT_EQ(client_->stats().pulled[v1::CODEC_BF16].raw_bytes, kElements * 4);
    client_.reset();
  }
}

}  // namespace
}  // namespace paramd
