#include "worker/infer/inference_service.h"

#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "worker/train/toy_program.h"

namespace paramd {
namespace {

ArenaPlan TestPlan() {
  ParameterSpec parameter;
  parameter.name = "p";
  parameter.shape = {16};
  return ArenaPlan::Create({parameter}, 1024).value();
}

class ToyModel final : public LoadedModel {
 public:
  ModelProgram& program() override { return program_; }
  absl::Span<const float> weights() const override { return weights_; }
  GeneratorModel shape() const override { return {.context = 8, .vocab_size = 256}; }

 private:
  const ArenaPlan plan_ = TestPlan();
  ToyProgram program_{plan_};
  const std::vector<float> weights_ = std::vector<float>(16, 0.0f);
};

class InferenceServiceTest : public testing::Test {
 protected:
  InferenceServiceTest() {
    service_ = std::make_unique<InferenceService>(InferenceServiceOptions{
        .load = [this](const std::string& directory) -> absl::StatusOr<std::unique_ptr<LoadedModel>> {
          if (directory != "/models/toy") {
            return MakeError(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", absl::StrCat("no model in ", directory));
          }
          absl::MutexLock lock(&mutex_);
          loading_ = true;
          mutex_.Await(absl::Condition(&open_));
          return std::make_unique<ToyModel>();
        },
        .max_concurrent = 1});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::InferenceService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }
  ~InferenceServiceTest() override {
    SetOpen(true);
    service_->Stop();
    server_->Shutdown();
  }

  static v1::GenerateRequest Request(const std::string& prompt, uint32_t tokens) {
    v1::GenerateRequest request;
    request.set_model_directory("/models/toy");
    request.set_prompt(prompt);
    request.set_max_tokens(tokens);
    return request;
  }

  absl::StatusOr<std::string> Call(const v1::GenerateRequest& request, v1::GenerateResponse* last = nullptr) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse response;
    std::string text;
    while (reader->Read(&response)) {
      text += response.text();
      if (last != nullptr) *last = response;
    }
    const absl::Status status = FromGrpcStatus(reader->Finish());
    if (!status.ok()) return status;
    return text;
  }

  void SetOpen(bool open) {
    absl::MutexLock lock(&mutex_);
    open_ = open;
  }

  absl::Mutex mutex_;
  bool open_ = true;      // Whether models load.
  bool loading_ = false;  // One has been asked for.
  std::unique_ptr<InferenceService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

TEST_F(InferenceServiceTest, StreamsTextAndEndsWithDone) {
  v1::GenerateResponse last;
  ASSERT_OK_AND_ASSIGN(const std::string text, Call(Request("a", 5), &last));
  EXPECT_EQ(text, "bcdef");
  EXPECT_TRUE(last.done());
  EXPECT_EQ(last.tokens(), 5u);
}

TEST_F(InferenceServiceTest, BytesThatAreNotTextBecomeReplacements) {
  ASSERT_OK_AND_ASSIGN(const std::string text, Call(Request("~", 3)));  // 0x7f, 0x80, 0x81.
  EXPECT_EQ(text, "\x7f\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_F(InferenceServiceTest, RefusesBadRequests) {
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST");
  EXPECT_THAT(Call(Request("a", 0)), refused);
  EXPECT_THAT(Call(Request("a", kMaxGeneratedTokens + 1)), refused);
  v1::GenerateRequest request = Request("a", 1);
  request.set_temperature(-0.5f);
  EXPECT_THAT(Call(request), refused);
  request.set_temperature(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(Call(request), refused);
  request = Request(std::string(kMaxPromptBytes + 1, 'x'), 1);
  EXPECT_THAT(Call(request), refused);
  request = Request("a", 1);
  request.clear_model_directory();
  EXPECT_THAT(Call(request), refused);
  request.set_model_directory("/models/other");
  EXPECT_THAT(Call(request), StatusIs(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND"));
}

TEST_F(InferenceServiceTest, BoundsConcurrentCalls) {
  SetOpen(false);
  absl::StatusOr<std::string> first = absl::UnknownError("not run");
  std::thread caller([&] { first = Call(Request("a", 2)); });
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&loading_));  // The first call holds the only place.
  }
  const absl::StatusOr<std::string> second = Call(Request("a", 1));
  EXPECT_THAT(second, StatusIs(absl::StatusCode::kResourceExhausted, "TOO_MANY_GENERATIONS"));
  SetOpen(true);
  caller.join();
  ASSERT_OK(first);
  EXPECT_EQ(*first, "bc");
}

TEST_F(InferenceServiceTest, ClientThatGoesAwayFreesItsPlace) {
  {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, Request("a", kMaxGeneratedTokens));
    v1::GenerateResponse response;
    ASSERT_TRUE(reader->Read(&response));
    context.TryCancel();
    reader->Finish();
  }
  absl::StatusOr<std::string> next = absl::ResourceExhaustedError("");
  while (absl::IsResourceExhausted(next.status())) next = Call(Request("a", 2));
  ASSERT_OK(next);
}

TEST_F(InferenceServiceTest, StopEndsOpenCalls) {
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request("a", kMaxGeneratedTokens));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::thread drain([&] {
    while (reader->Read(&response)) {
    }
  });
  service_->Stop();
  drain.join();
  EXPECT_THAT(FromGrpcStatus(reader->Finish()), StatusIs(absl::StatusCode::kUnavailable, "WORKER_STOPPING"));
  EXPECT_THAT(Call(Request("a", 1)), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace paramd
