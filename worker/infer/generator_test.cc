#include "worker/infer/generator.h"

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/train/toy_program.h"

namespace paramd {
namespace {

class GeneratorTest : public testing::Test {
 protected:
  GeneratorTest() {
    ParameterSpec parameter;
    parameter.name = "p";
    parameter.shape = {16};
    plan_ = ArenaPlan::Create({parameter}, 1024).value();
  }

  absl::StatusOr<std::vector<int32_t>> Run(const std::vector<int32_t>& prompt, const GenerateOptions& options) {
    ToyProgram program(plan_);
    Generator generator(program, weights_, {.context = 4, .vocab_size = 256});
    std::vector<int32_t> tokens;
    RETURN_IF_ERROR(generator.Generate(prompt, options, [&](int32_t token) {
      tokens.push_back(token);
      return absl::OkStatus();
    }));
    return tokens;
  }

  std::string Text(const std::string& prompt, const GenerateOptions& options) {
    ToyProgram program(plan_);
    Generator generator(program, weights_, {.context = 4, .vocab_size = 256});
    std::string text;
    EXPECT_OK(generator.GenerateText(prompt, options, [&](absl::string_view piece, int64_t tokens) {
      text.append(piece.data(), piece.size());
      return absl::OkStatus();
    }));
    return text;
  }

  ArenaPlan plan_;
  std::vector<float> weights_ = std::vector<float>(16, 0.0f);
};

TEST_F(GeneratorTest, GreedyTakesTheLikeliest) {
  EXPECT_EQ(Text("a", {.max_tokens = 5}), "bcdef");
  EXPECT_EQ(Text("", {.max_tokens = 1}), "\x0b");                    // An empty prompt is a newline.
  EXPECT_EQ(Text("a", {.max_tokens = 20}), "bcdefghijklmnopqrstu");  // Far beyond the context.
}

TEST_F(GeneratorTest, SamplingIsDeterministicPerSeed) {
  const GenerateOptions options = {.max_tokens = 40, .temperature = 1.0f, .seed = 3};
  ASSERT_OK_AND_ASSIGN(const auto first, Run({'a'}, options));
  ASSERT_OK_AND_ASSIGN(const auto again, Run({'a'}, options));
  EXPECT_EQ(first, again);
  ASSERT_OK_AND_ASSIGN(const auto other, Run({'a'}, {.max_tokens = 40, .temperature = 1.0f, .seed = 4}));
  EXPECT_NE(first, other);
  // A longer run begins with the shorter one.
  ASSERT_OK_AND_ASSIGN(const auto longer, Run({'a'}, {.max_tokens = 60, .temperature = 1.0f, .seed = 3}));
  EXPECT_EQ(std::vector<int32_t>(longer.begin(), longer.begin() + 40), first);
}

// What a seed means must never change: golden, from an independent implementation.
TEST_F(GeneratorTest, Golden) {
  EXPECT_EQ(Text("a", {.max_tokens = 16, .temperature = 1.0f, .seed = 42}), "befghklmnopstuvx");
}

TEST_F(GeneratorTest, TopKOneIsGreedy) {
  EXPECT_EQ(Text("a", {.max_tokens = 5, .temperature = 5.0f, .top_k = 1}), "bcdef");
}

TEST_F(GeneratorTest, RefusesTokensOutsideTheVocabulary) {
  EXPECT_THAT(Run({256}, {.max_tokens = 1}), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PROMPT"));
  EXPECT_THAT(Run({-1}, {.max_tokens = 1}), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PROMPT"));
}

TEST_F(GeneratorTest, SinkEndsTheGeneration) {
  ToyProgram program(plan_);
  Generator generator(program, weights_, {.context = 4, .vocab_size = 256});
  int calls = 0;
  EXPECT_THAT(
      generator.Generate({}, {.max_tokens = 10},
                         [&](int32_t) { return ++calls < 3 ? absl::OkStatus() : absl::CancelledError("gone"); }),
      StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(calls, 3);
}

TEST(SampleTokenTest, FollowsTheDistribution) {
  const std::vector<float> logits = {0.0f, std::log(3.0f), std::log(6.0f)};  // 0.1, 0.3, 0.6.
  std::map<int32_t, int> counts;
  for (int i = 0; i < 1000; ++i) {
    ++counts[SampleToken(logits, {.temperature = 1.0f}, (static_cast<float>(i) + 0.5f) / 1000).value()];
  }
  EXPECT_EQ(counts[2], 600);
  EXPECT_EQ(counts[1], 300);
  EXPECT_EQ(counts[0], 100);
  // Temperature 0.5 squares the odds: 1 : 9 : 36; top-2 leaves 9 : 36.
  EXPECT_EQ(SampleToken(logits, {.temperature = 0.5f, .top_k = 2}, 0.79f).value(), 2);
  EXPECT_EQ(SampleToken(logits, {.temperature = 0.5f, .top_k = 2}, 0.81f).value(), 1);
}

TEST(SampleTokenTest, TiesGoToTheLowerToken) {
  const std::vector<float> logits = {1.0f, 2.0f, 2.0f};
  EXPECT_EQ(SampleToken(logits, {.temperature = 0}, 0.9f).value(), 1);
  EXPECT_EQ(SampleToken(logits, {.temperature = 1, .top_k = 1}, 0.9f).value(), 1);
}

TEST(SampleTokenTest, ExtremeLogitsAndTemperaturesStayFinite) {
  const std::vector<float> logits = {-3e38f, 3e38f, 0.0f};
  EXPECT_EQ(SampleToken(logits, {.temperature = 1e-30f}, 0.999f).value(), 1);
  const std::vector<float> bad = {0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THAT(SampleToken(bad, {.temperature = 1}, 0.5f),
              StatusIs(absl::StatusCode::kInvalidArgument, "NON_FINITE_LOGITS"));
}

}  // namespace
}  // namespace paramd
