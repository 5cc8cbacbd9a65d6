#include "worker/parameter_client/encoded_buffers.h"

#include <vector>

#include "common/base/status_matchers.h"
#include "common/partition/arena_plan.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

class EncodedBuffersTest : public testing::Test {
 protected:
  EncodedBuffersTest() {
    v1::JobSpec spec;
    spec.mutable_communication()->set_push_codec(v1::CODEC_INT8);
    spec.mutable_communication()->set_topk_ratio(0.01);
    codecs_ = CodecPlan::Create(spec, plan_).value();
    for (int i = 0; i < 1024; ++i) values_.push_back(static_cast<float>(i % 37) - 18.3f);
  }

  static ArenaPlan TestPlan() {
    ParameterSpec parameter;
    parameter.name = "p";
    parameter.shape = {2048};
    return ArenaPlan::Create({parameter}, 1024).value();
  }

  std::string Direct(absl::Span<float> residual) const {
    std::string bytes;
    EXPECT_OK(EncodeChunk(codecs_, 0, values_, residual, bytes));
    return bytes;
  }

  const ArenaPlan plan_ = TestPlan();
  CodecPlan codecs_;
  std::vector<float> values_;
};

TEST_F(EncodedBuffersTest, HasTheCodecsBytesAndResidual) {
  std::vector<float> residual(1024, 0.25f);
  std::vector<float> expected_residual = residual;
  const std::string expected = Direct(absl::MakeSpan(expected_residual));
  ASSERT_OK_AND_ASSIGN(const auto segment, SharedSegment::Create(1 << 20));
  for (const auto& memory : {std::shared_ptr<SharedSegment>(), segment}) {
    std::vector<float> lost = residual;
    const auto buffers = std::make_shared<EncodedBuffers>(codecs_, memory);
    ASSERT_OK_AND_ASSIGN(const auto encoded, buffers->Encode(0, values_, absl::MakeSpan(lost)));
    EXPECT_EQ(encoded->bytes(), expected);
    EXPECT_EQ(lost, expected_residual);
    EXPECT_EQ(memory != nullptr, segment->Contains(encoded->bytes().data(), encoded->bytes().size()));
  }
}

TEST_F(EncodedBuffersTest, BuffersAreUsedAgainOnceNobodyRefersToThem) {
  const auto buffers = std::make_shared<EncodedBuffers>(codecs_, nullptr);
  ASSERT_OK_AND_ASSIGN(auto first, buffers->Encode(0, values_, {}));
  const void* const memory = first->bytes().data();
  auto copy = first;
  first.reset();
  ASSERT_OK_AND_ASSIGN(const auto second, buffers->Encode(0, values_, {}));
  EXPECT_NE(second->bytes().data(), memory);  // The copy still needs it.
  copy.reset();
  ASSERT_OK_AND_ASSIGN(const auto third, buffers->Encode(0, values_, {}));
  EXPECT_EQ(third->bytes().data(), memory);
}

TEST_F(EncodedBuffersTest, TakesTheHeapWhenTheSegmentIsFull) {
  ASSERT_OK_AND_ASSIGN(const auto segment,
                       SharedSegment::Create(EncodedBuffers::SharedFloats(codecs_, 0) * sizeof(float)));
  const auto buffers = std::make_shared<EncodedBuffers>(codecs_, segment);
  while (!segment->AllocateFloats(16).empty()) {
  }
  ASSERT_OK_AND_ASSIGN(const auto encoded, buffers->Encode(0, values_, {}));
  EXPECT_FALSE(segment->Contains(encoded->bytes().data(), encoded->bytes().size()));
  EXPECT_EQ(encoded->bytes(), Direct({}));
}

TEST_F(EncodedBuffersTest, BufferOutlivesItsMaker) {
  auto buffers = std::make_shared<EncodedBuffers>(codecs_, nullptr);
  ASSERT_OK_AND_ASSIGN(const auto encoded, buffers->Encode(1, values_, {}));
  buffers.reset();
  EXPECT_EQ(encoded->bytes(), Direct({}));
}

TEST_F(EncodedBuffersTest, RefusesOtherSizes) {
  const auto buffers = std::make_shared<EncodedBuffers>(codecs_, nullptr);
  EXPECT_THAT(buffers->Encode(0, absl::MakeSpan(values_).first(1023), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
}

}  // namespace
}  // namespace paramd
