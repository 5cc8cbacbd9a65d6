#include "common/partition/codec_plan.h"

#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/model/parameter_layout.h"
#include "common/tensor/codec.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

// Chunk 0: a with padding (1008 elements), the first 16 of b. Chunk 1: the rest of b (496), c (16), the first of d.
// Chunk 2: the rest of d.
ArenaPlan TestArena() {
  absl::StatusOr<ArenaPlan> plan = ArenaPlan::Create({{.name = "a", .shape = {1000}},
                                                      {.name = "b", .shape = {500}},
                                                      {.name = "c", .shape = {8}},
                                                      {.name = "d", .shape = {700}}},
                                                     1024);
  EXPECT_OK(plan.status());
  return *std::move(plan);
}

v1::JobSpec Spec(v1::Codec codec) {
  v1::JobSpec spec;
  spec.mutable_communication()->set_push_codec(codec);
  spec.mutable_communication()->set_pull_codec(v1::CODEC_FP32);
  spec.mutable_communication()->set_topk_ratio(0.01);
  return spec;
}

void AddGroup(const std::string& pattern, v1::Codec codec, v1::JobSpec& spec) {
  v1::ParameterGroup& group = *spec.mutable_optimizer()->add_groups();
  group.add_match(pattern);
  group.set_push_codec(codec);
}

std::vector<CodecRun> RunsOf(const CodecPlan& plan, int chunk) {
  return std::vector<CodecRun>(plan.RunsOf(chunk).begin(), plan.RunsOf(chunk).end());
}

TEST(CodecPlanTest, OneCodecIsOneRunPerChunk) {
  const ArenaPlan arena = TestArena();
  ASSERT_OK_AND_ASSIGN(const CodecPlan plan, CodecPlan::Create(Spec(v1::CODEC_TOPK), arena));
  ASSERT_EQ(plan.chunk_count(), 3);
  for (int chunk = 0; chunk < 3; ++chunk) {
    const int64_t size = arena.ChunkRange(chunk).size();
    EXPECT_EQ(RunsOf(plan, chunk), (std::vector<CodecRun>{{.range = {0, size}, .codec = v1::CODEC_TOPK}}));
    EXPECT_EQ(plan.ElementsOf(chunk), size);
    EXPECT_EQ(plan.CodecOf(chunk), v1::CODEC_TOPK);
    EXPECT_TRUE(plan.NeedsResidual(chunk));
    EXPECT_EQ(plan.MaxEncodedBytes(chunk), MaxEncodedBytes(v1::CODEC_TOPK, size, 0.01));
  }
  EXPECT_FALSE(plan.lossless());
  EXPECT_EQ(plan.topk_ratio(), 0.01);
  EXPECT_EQ(plan.pull_codec(), v1::CODEC_FP32);
}

TEST(CodecPlanTest, UnsetCodecsAreFp32) {
  ASSERT_OK_AND_ASSIGN(const CodecPlan plan, CodecPlan::Create(v1::JobSpec(), TestArena()));
  EXPECT_TRUE(plan.lossless());
  EXPECT_EQ(plan.CodecOf(0), v1::CODEC_FP32);
  EXPECT_EQ(plan.pull_codec(), v1::CODEC_FP32);
  EXPECT_FALSE(plan.NeedsResidual(0));
}

TEST(CodecPlanTest, GroupsDivideChunksIntoRuns) {
  v1::JobSpec spec = Spec(v1::CODEC_INT8);
  spec.mutable_optimizer()->add_groups()->add_match("c");  // Says nothing of codecs: the job's.
  AddGroup("b", v1::CODEC_FP32, spec);
  AddGroup("*", v1::CODEC_TOPK, spec);
  ASSERT_OK_AND_ASSIGN(const CodecPlan plan, CodecPlan::Create(spec, TestArena()));
  EXPECT_EQ(RunsOf(plan, 0), (std::vector<CodecRun>{{.range = {0, 1008}, .codec = v1::CODEC_TOPK},
                                                    {.range = {1008, 1024}, .codec = v1::CODEC_FP32}}));
  EXPECT_EQ(RunsOf(plan, 1), (std::vector<CodecRun>{{.range = {0, 496}, .codec = v1::CODEC_FP32},
                                                    {.range = {496, 512}, .codec = v1::CODEC_INT8},
                                                    {.range = {512, 1024}, .codec = v1::CODEC_TOPK}}));
  EXPECT_EQ(RunsOf(plan, 2), (std::vector<CodecRun>{{.range = {0, 188}, .codec = v1::CODEC_TOPK}}));
  EXPECT_EQ(plan.CodecOf(0), v1::CODEC_PER_GROUP);
  EXPECT_EQ(plan.CodecOf(1), v1::CODEC_PER_GROUP);
  EXPECT_EQ(plan.CodecOf(2), v1::CODEC_TOPK);
}

TEST(CodecPlanTest, NeighboursWithTheSameCodecAreOneRun) {
  v1::JobSpec spec = Spec(v1::CODEC_FP16);
  AddGroup("a", v1::CODEC_BF16, spec);
  AddGroup("b", v1::CODEC_BF16, spec);
  ASSERT_OK_AND_ASSIGN(const CodecPlan plan, CodecPlan::Create(spec, TestArena()));
  EXPECT_EQ(plan.CodecOf(0), v1::CODEC_BF16);
  EXPECT_EQ(RunsOf(plan, 1), (std::vector<CodecRun>{{.range = {0, 496}, .codec = v1::CODEC_BF16},
                                                    {.range = {496, 1024}, .codec = v1::CODEC_FP16}}));
  EXPECT_FALSE(plan.NeedsResidual(1));
}

TEST(CodecPlanTest, CodecsThatCannotBePushedAreRefused) {
  for (const v1::Codec codec : {v1::CODEC_PER_GROUP, static_cast<v1::Codec>(99)}) {
    EXPECT_THAT(CodecPlan::Create(Spec(codec), TestArena()),
                StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
    v1::JobSpec spec = Spec(v1::CODEC_FP32);
    AddGroup("d", codec, spec);
    EXPECT_THAT(CodecPlan::Create(spec, TestArena()),
                StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
  }
}

// A chunk of three codecs, there and back.
class ChunkCodecTest : public testing::Test {
 protected:
  void SetUp() override {
    v1::JobSpec spec = Spec(v1::CODEC_INT8);
    AddGroup("b", v1::CODEC_FP32, spec);
    AddGroup("d", v1::CODEC_TOPK, spec);
    ASSERT_OK_AND_ASSIGN(plan_, CodecPlan::Create(spec, TestArena()));
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<float>(i % 97) - 48.5f;
    ASSERT_OK(EncodeChunk(plan_, 1, values_, absl::MakeSpan(residual_), payload_));
  }

  absl::Status Decode(v1::Codec codec, absl::string_view payload) {
    return DecodeChunk(plan_, 1, codec, payload, absl::MakeSpan(decoded_));
  }

  CodecPlan plan_;
  std::vector<float> values_ = std::vector<float>(1024), residual_ = values_, decoded_ = values_;
  std::string payload_;
};

TEST_F(ChunkCodecTest, RunsFollowOneAnother) {
  std::string expected(reinterpret_cast<const char*>(values_.data()), 496 * 4);
  ASSERT_OK(EncodeRun(v1::CODEC_INT8, absl::MakeSpan(values_).subspan(496, 16), 1, {}, expected));
  ASSERT_OK(EncodeRun(v1::CODEC_TOPK, absl::MakeSpan(values_).subspan(512), 0.01, {}, expected));
  EXPECT_EQ(payload_, expected);
  ASSERT_OK(Decode(v1::CODEC_PER_GROUP, payload_));
  for (size_t i = 0; i < values_.size(); ++i) EXPECT_EQ(decoded_[i] + residual_[i], values_[i]) << i;
  EXPECT_EQ(residual_[495], 0);
  EXPECT_NE(residual_[600], 0);
}

TEST_F(ChunkCodecTest, AResidualIsNotCompulsory) {
  std::string without;
  ASSERT_OK(EncodeChunk(plan_, 1, values_, {}, without));
  EXPECT_EQ(without, payload_);  // The first had a residual of zeros.
}

TEST_F(ChunkCodecTest, Fp32IsAlwaysAccepted) {
  const absl::string_view bytes(reinterpret_cast<const char*>(values_.data()), values_.size() * 4);
  ASSERT_OK(Decode(v1::CODEC_FP32, bytes));
  EXPECT_EQ(decoded_, values_);
  EXPECT_THAT(Decode(v1::CODEC_FP32, bytes.substr(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_THAT(Decode(v1::CODEC_FP32, payload_), StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
}

TEST_F(ChunkCodecTest, WhatDoesNotFitIsRefused) {
  for (const v1::Codec codec : {v1::CODEC_UNSPECIFIED, v1::CODEC_BF16, v1::CODEC_TOPK, static_cast<v1::Codec>(99)}) {
    EXPECT_THAT(Decode(codec, payload_), StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
  }
  for (size_t size = 0; size < payload_.size(); ++size) {
    EXPECT_THAT(Decode(v1::CODEC_PER_GROUP, payload_.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD"));
  }
  EXPECT_THAT(Decode(v1::CODEC_PER_GROUP, payload_ + "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD"));
  std::vector<float> wrong(1023);
  std::string bytes;
  EXPECT_THAT(DecodeChunk(plan_, 1, v1::CODEC_PER_GROUP, payload_, absl::MakeSpan(wrong)),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_THAT(EncodeChunk(plan_, 1, wrong, {}, bytes),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_THAT(EncodeChunk(plan_, 1, values_, absl::MakeSpan(wrong), bytes),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
}

}  // namespace
}  // namespace paramd
