#include "worker/parameter_client/codec.h"

#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

const CallerIdentity kCaller = {.job_id = "job-1", .generation = 3, .worker_index = 2, .worker_incarnation = 77};

TEST(CodecTest, EncodesPushPull) {
  const std::vector<float> gradient = {1.0f, -2.0f};
  const ParameterCall call = {
      .chunk = 5,
      .push = PushPart{.step = 9, .subtree = {.first_slot = 4, .log2_size = 1}, .slot_count = 2, .payload = gradient},
      .pull = PullPart{.min_version = 10, .min_clock = 8}};
  v1::ParameterRequest message;
  message.set_payload("left over");
  EncodeCall(kCaller, call, 42, 1500, message);
  EXPECT_EQ(message.request_id(), 42u);
  EXPECT_EQ(message.job_id(), "job-1");
  EXPECT_EQ(message.generation(), 3u);
  EXPECT_EQ(message.worker_index(), 2u);
  EXPECT_EQ(message.worker_incarnation(), 77u);
  EXPECT_EQ(message.operation(), v1::OPERATION_PUSH_PULL);
  EXPECT_EQ(message.chunk(), 5u);
  EXPECT_EQ(message.step(), 9u);
  EXPECT_EQ(message.first_slot(), 4u);
  EXPECT_EQ(message.log2_size(), 1u);
  EXPECT_EQ(message.slot_count(), 2u);
  EXPECT_EQ(message.min_version(), 10u);
  EXPECT_EQ(message.min_clock(), 8u);
  EXPECT_EQ(message.codec(), v1::CODEC_FP32);
  EXPECT_EQ(message.deadline_ms(), 1500u);
  EXPECT_EQ(message.payload(), std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8));
  EXPECT_EQ(message.crc32c(), Crc32c(message.payload()));
}

TEST(CodecTest, OperationsFollowTheParts) {
  const std::vector<float> gradient = {1.0f};
  v1::ParameterRequest message;
  EncodeCall(kCaller, {.chunk = 1, .push = PushPart{.payload = gradient}}, 1, 0, message);
  EXPECT_EQ(message.operation(), v1::OPERATION_PUSH);
  EncodeCall(kCaller, {.chunk = 1, .pull = PullPart{}}, 1, 0, message);
  EXPECT_EQ(message.operation(), v1::OPERATION_PULL);
  EXPECT_TRUE(message.payload().empty());
}

TEST(CodecTest, AnswerStatusKeepsCodeReasonAndMessage) {
  v1::ParameterResponse message;
  EXPECT_OK(AnswerStatus(message));
  message.set_code(9);
  message.set_reason("GENERATION_FENCED");
  message.set_message("job is at generation 4");
  EXPECT_THAT(AnswerStatus(message), StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  EXPECT_EQ(AnswerStatus(message).message(), "job is at generation 4");
  for (int code : {-1, 17, 1 << 30}) {
    message.set_code(code);
    EXPECT_THAT(AnswerStatus(message), StatusIs(absl::StatusCode::kUnknown)) << code;
  }
}

TEST(CodecTest, WeightsAreCheckedBeforeTheyAreTaken) {
  v1::ParameterResponse good;
  good.set_codec(v1::CODEC_FP32);
  good.set_payload(std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8));
  good.set_crc32c(Crc32c(good.payload()));
  ASSERT_OK(CheckWeights(good, 2));
  std::vector<float> weights(2);
  DecodeWeights(good.payload(), absl::MakeSpan(weights));
  EXPECT_EQ(weights, (std::vector<float>{1.0f, -2.0f}));

  EXPECT_THAT(CheckWeights(good, 3), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  v1::ParameterResponse codec = good;
  codec.clear_codec();
  EXPECT_THAT(CheckWeights(codec, 2), StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
  v1::ParameterResponse damaged = good;
  (*damaged.mutable_payload())[3] ^= 0x10;
  EXPECT_THAT(CheckWeights(damaged, 2), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
}

}  // namespace
}  // namespace paramd
