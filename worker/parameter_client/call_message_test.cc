#include "worker/parameter_client/call_message.h"

#include <cstring>
#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "common/base/status_matchers.h"
#include "common/tensor/codec_half.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

const CallerIdentity kCaller = {.job_id = "gpt-a1b2c3", .generation = 3, .worker_index = 1, .worker_incarnation = 99};

TEST(CallMessageTest, HeaderSaysAllOfTheCall) {
  const std::vector<float> gradient(1024, 1.0f);
  const ParameterCall call = {
      .chunk = 5,
      .push = PushPart{.step = 7, .subtree = {.first_slot = 4, .log2_size = 2}, .slot_count = 3, .payload = gradient},
      .pull = PullPart{.min_version = 8, .min_clock = 2}};
  const RequestHeader header = MakeHeader(kCaller, call, 11, 30000);
  EXPECT_EQ(header.request_id, 11u);
  EXPECT_EQ(header.job_id.view(), "gpt-a1b2c3");
  EXPECT_EQ(header.generation, 3u);
  EXPECT_EQ(header.worker_index, 1u);
  EXPECT_EQ(header.worker_incarnation, 99u);
  EXPECT_EQ(header.operation, v1::OPERATION_PUSH_PULL);
  EXPECT_EQ(header.chunk, 5u);
  EXPECT_EQ(header.step, 7u);
  EXPECT_EQ(header.first_slot, 4u);
  EXPECT_EQ(header.log2_size, 2u);
  EXPECT_EQ(header.slot_count, 3u);
  EXPECT_EQ(header.min_version, 8u);
  EXPECT_EQ(header.min_clock, 2u);
  EXPECT_EQ(header.deadline_ms, 30000u);
  EXPECT_EQ(header, MakeHeader(kCaller, call, 11, 30000));
  EXPECT_EQ(MakeHeader(kCaller, {.chunk = 5, .push = call.push}, 1, 0).operation, v1::OPERATION_PUSH);
  EXPECT_EQ(MakeHeader(kCaller, {.chunk = 5, .pull = call.pull}, 1, 0).operation, v1::OPERATION_PULL);
}

TEST(CallMessageTest, AnswerStatusKeepsCodeReasonAndText) {
  ResponseHeader header;
  EXPECT_OK(AnswerStatus(header));
  header.code = static_cast<int>(absl::StatusCode::kFailedPrecondition);
  header.reason = "GENERATION_FENCED";
  header.message = "too old";
  EXPECT_THAT(AnswerStatus(header), StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  EXPECT_EQ(AnswerStatus(header).message(), "too old");
  for (int32_t code : {-1, 17, 1 << 30}) {
    header.code = code;
    EXPECT_THAT(AnswerStatus(header), StatusIs(absl::StatusCode::kUnknown));
  }
}

class LandWeightsTest : public testing::Test {
 protected:
  LandWeightsTest() : weights_(2500), landing_(2500, -7.0f) {
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = static_cast<float>(i) - 0.5f;
    bf16_.resize(2 * weights_.size());
    EncodeBf16(weights_, absl::MakeSpan(reinterpret_cast<uint16_t*>(bf16_.data()), weights_.size()));
    rounded_.resize(weights_.size());
    DecodeBf16(bf16_.data(), absl::MakeSpan(rounded_));
    fp32_.assign(reinterpret_cast<const char*>(weights_.data()), weights_.size() * sizeof(float));
  }

  // An answer with `bytes` cut into fragments at these places.
  void Receive(v1::Codec codec, const std::string& bytes, const std::vector<size_t>& cuts = {}) {
    response_.ClearDecoded();
    response_.header.codec = codec;
    response_.header.crc32c = Crc32c(bytes);
    size_t begin = 0;
    for (size_t cut : cuts) {
      response_.fragments.push_back(absl::string_view(bytes).substr(begin, cut - begin));
      begin = cut;
    }
    response_.fragments.push_back(absl::string_view(bytes).substr(begin));
    response_.payload_size = bytes.size();
  }
  // An answer whose bytes the server wrote to the landing.
  void ReceiveInPlace(v1::Codec codec, const std::string& bytes) {
    response_.ClearDecoded();
    response_.header.codec = codec;
    response_.header.shared_answer_bytes = bytes.size();
    std::memcpy(landing_.data(), bytes.data(), bytes.size());
  }
  absl::Status Land(v1::Codec codec, bool shared = false) {
    return LandWeights(response_, codec, shared, absl::MakeSpan(landing_));
  }

  std::vector<float> weights_;
  std::vector<float> rounded_;  // weights_ after BF16.
  std::string fp32_;
  std::string bf16_;
  std::vector<float> landing_;
  InboundResponse response_;
};

TEST_F(LandWeightsTest, CopiesOutOfFragmentsCutAnywhere) {
  for (const std::vector<size_t>& cuts : std::vector<std::vector<size_t>>{{}, {1, 2, 3, 4}, {999, 999, 4001}}) {
    std::fill(landing_.begin(), landing_.end(), -7.0f);
    Receive(v1::CODEC_FP32, fp32_, cuts);
    ASSERT_OK(Land(v1::CODEC_FP32));
    EXPECT_EQ(landing_, weights_);
    std::fill(landing_.begin(), landing_.end(), -7.0f);
    Receive(v1::CODEC_BF16, bf16_, cuts);
    ASSERT_OK(Land(v1::CODEC_BF16));
    EXPECT_EQ(landing_, rounded_);
  }
}

TEST_F(LandWeightsTest, WhatTheServerWroteStaysOrIsExpandedInPlace) {
  ReceiveInPlace(v1::CODEC_FP32, fp32_);
  ASSERT_OK(Land(v1::CODEC_FP32, /*shared=*/true));
  EXPECT_EQ(landing_, weights_);
  for (size_t size : {1u, 2u, 1023u, 1024u, 1025u, 2500u}) {
    landing_.resize(size);
    ReceiveInPlace(v1::CODEC_BF16, bf16_.substr(0, 2 * size));
    ASSERT_OK(Land(v1::CODEC_BF16, /*shared=*/true));
    EXPECT_EQ(landing_, std::vector<float>(rounded_.begin(), rounded_.begin() + size));
  }
}

TEST_F(LandWeightsTest, ServerMayAnswerInTheMessageWhateverWasOffered) {
  Receive(v1::CODEC_FP32, fp32_);
  ASSERT_OK(Land(v1::CODEC_FP32, /*shared=*/true));
  EXPECT_EQ(landing_, weights_);
}

TEST_F(LandWeightsTest, ChecksumIsOptionalButHolds) {
  Receive(v1::CODEC_FP32, fp32_);
  response_.header.crc32c = 0;
  EXPECT_OK(Land(v1::CODEC_FP32));
  Receive(v1::CODEC_FP32, fp32_);
  response_.header.crc32c ^= 1;
  EXPECT_THAT(Land(v1::CODEC_FP32), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
  Receive(v1::CODEC_BF16, bf16_);
  response_.header.crc32c ^= 1;
  std::fill(landing_.begin(), landing_.end(), -7.0f);
  EXPECT_THAT(Land(v1::CODEC_BF16), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
  EXPECT_THAT(landing_, testing::Each(-7.0f)) << "what is not copied in the same pass is checked before";
  ReceiveInPlace(v1::CODEC_FP32, fp32_);
  response_.header.crc32c = Crc32c(fp32_) ^ 1;
  EXPECT_THAT(Land(v1::CODEC_FP32, true), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
}

TEST_F(LandWeightsTest, RefusesWhatWasNotAskedFor) {
  Receive(v1::CODEC_BF16, bf16_);
  EXPECT_THAT(Land(v1::CODEC_FP32), StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
  Receive(v1::CODEC_FP32, fp32_.substr(4));
  EXPECT_THAT(Land(v1::CODEC_FP32), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  Receive(v1::CODEC_FP32, fp32_ + "0000");
  EXPECT_THAT(Land(v1::CODEC_FP32), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  Receive(v1::CODEC_FP32, "");
  EXPECT_THAT(Land(v1::CODEC_FP32), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  // The landing was not offered, so nobody can have written there.
  ReceiveInPlace(v1::CODEC_FP32, fp32_);
  EXPECT_THAT(Land(v1::CODEC_FP32), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  ReceiveInPlace(v1::CODEC_FP32, fp32_);
  response_.header.shared_answer_bytes += 4;
  EXPECT_THAT(Land(v1::CODEC_FP32, true), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_THAT(std::string(Land(v1::CODEC_FP32, true).message()), testing::HasSubstr("10004 bytes, expected 10000"));
}

}  // namespace
}  // namespace paramd
