#include "common/model/parameter_layout.h"

#include <cmath>
#include <set>
#include <string>

#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = Initializer::Kind;

v1::ModelSpec Mlp(const std::vector<uint32_t>& widths) {
  v1::ModelSpec model;
  model.mutable_mlp();
  for (const uint32_t width : widths) model.mutable_mlp()->add_widths(width);
  return model;
}

v1::ModelSpec Gpt2(uint32_t layers, uint32_t hidden, uint32_t context, uint32_t vocab, uint32_t ffn) {
  v1::ModelSpec model;
  v1::Gpt2Model& gpt2 = *model.mutable_gpt2();
  gpt2.set_layers(layers), gpt2.set_hidden(hidden), gpt2.set_context(context);
  gpt2.set_vocab_size(vocab), gpt2.set_ffn_hidden(ffn);
  return model;
}

TEST(ParameterLayoutTest, Mlp) {
  ASSERT_OK_AND_ASSIGN(const auto layout, ParameterLayout(Mlp({784, 64, 10})));
  ASSERT_EQ(layout.size(), 4u);
  EXPECT_EQ(layout[0].name, "layers.0.weight");
  EXPECT_THAT(layout[0].shape, ElementsAre(64, 784));
  EXPECT_EQ(layout[0].role, ParameterRole::kWeight);
  EXPECT_EQ(layout[0].initializer.kind, Kind::kUniform);
  EXPECT_FLOAT_EQ(layout[0].initializer.scale, 1.0f / 28);
  EXPECT_EQ(layout[1].name, "layers.0.bias");
  EXPECT_EQ(layout[1].role, ParameterRole::kBias);
  EXPECT_FLOAT_EQ(layout[1].initializer.scale, 1.0f / 28);
  EXPECT_EQ(layout[2].name, "layers.1.weight");
  EXPECT_THAT(layout[2].shape, ElementsAre(10, 64));
  EXPECT_THAT(layout[3].shape, ElementsAre(10));
  EXPECT_FLOAT_EQ(layout[3].initializer.scale, 0.125f);
}

TEST(ParameterLayoutTest, Gpt2NamesShapesAndInitialValues) {
  ASSERT_OK_AND_ASSIGN(const auto layout, ParameterLayout(Gpt2(2, 8, 16, 256, 24)));
  const float projection = 0.02f / 2;
  const struct {
    const char* name;
    std::vector<int64_t> shape;
    ParameterRole role;
    Kind kind;
    float scale;
  } kExpected[] = {
      {"wte.weight", {256, 8}, ParameterRole::kWeight, Kind::kNormal, 0.02f},
      {"wpe.weight", {16, 8}, ParameterRole::kWeight, Kind::kNormal, 0.02f},
      {"h.0.ln_1.weight", {8}, ParameterRole::kNorm, Kind::kOnes, 0},
      {"h.0.ln_1.bias", {8}, ParameterRole::kNorm, Kind::kZeros, 0},
      {"h.0.attn.c_attn.weight", {8, 24}, ParameterRole::kWeight, Kind::kNormal, 0.02f},
      {"h.0.attn.c_attn.bias", {24}, ParameterRole::kBias, Kind::kZeros, 0},
      {"h.0.attn.c_proj.weight", {8, 8}, ParameterRole::kWeight, Kind::kNormal, projection},
      {"h.0.attn.c_proj.bias", {8}, ParameterRole::kBias, Kind::kZeros, 0},
      {"h.0.ln_2.weight", {8}, ParameterRole::kNorm, Kind::kOnes, 0},
      {"h.0.ln_2.bias", {8}, ParameterRole::kNorm, Kind::kZeros, 0},
      {"h.0.mlp.c_fc.weight", {8, 24}, ParameterRole::kWeight, Kind::kNormal, 0.02f},
      {"h.0.mlp.c_fc.bias", {24}, ParameterRole::kBias, Kind::kZeros, 0},
      {"h.0.mlp.c_proj.weight", {24, 8}, ParameterRole::kWeight, Kind::kNormal, projection},
      {"h.0.mlp.c_proj.bias", {8}, ParameterRole::kBias, Kind::kZeros, 0},
      {"h.1.ln_1.weight", {8}, ParameterRole::kNorm, Kind::kOnes, 0},
  };
  ASSERT_EQ(layout.size(), 2u + 2 * 12 + 2);
  for (size_t i = 0; i < std::size(kExpected); ++i) {
    EXPECT_EQ(layout[i].name, kExpected[i].name);
    EXPECT_EQ(layout[i].shape, kExpected[i].shape) << layout[i].name;
    EXPECT_EQ(layout[i].role, kExpected[i].role) << layout[i].name;
    EXPECT_EQ(layout[i].initializer.kind, kExpected[i].kind) << layout[i].name;
    EXPECT_FLOAT_EQ(layout[i].initializer.scale, kExpected[i].scale) << layout[i].name;
  }
  EXPECT_EQ(layout[26].name, "ln_f.weight");
  EXPECT_EQ(layout[27].name, "ln_f.bias");
}

TEST(ParameterLayoutTest, Gpt2SmallHasItsKnownSize) {
  ASSERT_OK_AND_ASSIGN(const auto layout, ParameterLayout(Gpt2(12, 768, 1024, 50257, 3072)));
  int64_t total = 0;
  for (const ParameterSpec& parameter : layout) total += ElementCount(parameter.shape);
  EXPECT_EQ(total, 124439808);
}

TEST(ParameterLayoutTest, Refusals) {
  const uint32_t huge = 0xffffffff;
  const struct {
    v1::ModelSpec model;
    const char* message;
  } kCases[] = {
      {v1::ModelSpec(), "one of mlp, gpt2"},
      {Mlp({}), "at least 2"},
      {Mlp({5}), "at least 2"},
      {Mlp({5, 0}), "extent 0"},
      {Mlp({huge, huge}), "overflows"},
      {Mlp({huge, huge / 2, huge}), "total size overflows"},
      {Gpt2(0, 8, 8, 8, 8), "layers"},
      {Gpt2(1, 0, 8, 8, 8), "extent 0"},
      {Gpt2(1, 8, 0, 8, 8), "wpe.weight"},
      {Gpt2(1, 8, 8, 0, 8), "wte.weight"},
      {Gpt2(1, 8, 8, 8, 0), "mlp.c_fc"},
      {Gpt2(1, huge, 8, 8, huge), "overflows"},
  };
  for (const auto& c : kCases) {
    const auto layout = ParameterLayout(c.model);
    EXPECT_THAT(layout, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_MODEL")) << c.message;
    EXPECT_THAT(std::string(layout.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace paramd
