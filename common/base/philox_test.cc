#include "common/base/philox.h"

#include <cmath>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::ElementsAre;

TEST(PhiloxTest, KnownAnswers) {  // Random123's kat_vectors, philox4x32 with 10 rounds.
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(PhiloxTest, LayoutOfKeyAndCounter) {
  EXPECT_EQ(
      PhiloxBlock(
          0x299f31d0a4093822,
          {.stream = static_cast<RandomStream>(0x03707344), .a = 0x13198a2e, .b = 0x85a308d3, .index = 0x243f6a88}),
      Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}));
}

TEST(PhiloxTest, StreamIsTheBlocksInOrder) {
  Philox random(9, RandomStream::kShuffle, 3, 4);
  for (uint32_t index = 0; index < 3; ++index) {
    for (const uint32_t word : PhiloxBlock(9, {RandomStream::kShuffle, 3, 4, index})) EXPECT_EQ(random.Next32(), word);
  }
  Philox first(9, RandomStream::kShuffle), again(9, RandomStream::kShuffle);
  const uint64_t low = first.Next32();
  EXPECT_EQ(again.Next64(), low | uint64_t{first.Next32()} << 32);
}

TEST(PhiloxTest, UniformFloats) {
  EXPECT_EQ(UniformFloat(0), 0.0f);
  EXPECT_EQ(UniformFloat(255), 0.0f);
  EXPECT_EQ(UniformFloat(256), 0x1p-24f);
  EXPECT_EQ(UniformFloat(0xffffffff), 1 - 0x1p-24f);
  Philox random(1, RandomStream::kTest);
  double sum = 0, squares = 0;
  constexpr int kCount = 1000000;
  for (int i = 0; i < kCount; ++i) {
    const double u = random.Uniform();
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 1.5e-3);  // Five standard errors of 2.9e-4.
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 1.5e-3);
}

TEST(PhiloxTest, NormalsAgreeWithTheFormula) {
  constexpr double kTwoPi = 6.283185307179586476925;
  std::vector<std::array<uint32_t, 2>> inputs = {
      {0, 0},          {0xffffffff, 0}, {0xffffffff, 0xffffffff}, {0x7fffffff, 0x80000000},
      {1, 0x40000000}, {2, 0x20000000}, {0xb504f333, 0x1fffffff}};
  Philox random(1, RandomStream::kTest);
  for (int i = 0; i < 100000; ++i) inputs.push_back({random.Next32(), random.Next32()});
  for (const auto& [bits0, bits1] : inputs) {
    const double radius = std::sqrt(-2 * std::log((bits0 + 1.0) / 4294967296.0));
    const double angle = kTwoPi * (bits1 / 4294967296.0);
    const auto [x, y] = NormalPair(bits0, bits1);
    ASSERT_NEAR(x, radius * std::cos(angle), 5e-7) << bits0 << " " << bits1;
    ASSERT_NEAR(y, radius * std::sin(angle), 5e-7) << bits0 << " " << bits1;
  }
}

TEST(PhiloxTest, NormalMoments) {
  double sums[5] = {};
  constexpr int kBlocks = 250000;
  for (uint32_t i = 0; i < kBlocks; ++i) {
    const std::array<float, 4> values = NormalBlock(PhiloxBlock(1, {RandomStream::kTest, 0, 0, i}));
    for (const double v : values) {
      for (int power = 1; power <= 4; ++power) sums[power] += std::pow(v, power);
    }
    sums[0] += values[0] * values[1] + values[1] * values[2];
  }
  constexpr double kCount = 4.0 * kBlocks;
  EXPECT_NEAR(sums[1] / kCount, 0, 5e-3);
  EXPECT_NEAR(sums[2] / kCount, 1, 7.5e-3);
  EXPECT_NEAR(sums[3] / kCount, 0, 2e-2);
  EXPECT_NEAR(sums[4] / kCount, 3, 5e-2);
  EXPECT_NEAR(sums[0] / (2.0 * kBlocks), 0, 1e-2);  // Neighbours are not correlated.
}

TEST(PhiloxTest, BelowIsUniform) {
  Philox random(1, RandomStream::kTest);
  EXPECT_EQ(random.Below(0), 0u);
  EXPECT_EQ(random.Below(1), 0u);
  std::vector<int> counts(7, 0);
  constexpr int kCount = 700000;
  for (int i = 0; i < kCount; ++i) ++counts.at(random.Below(7));
  for (const int count : counts) EXPECT_NEAR(count, kCount / 7, 1500);  // Five standard errors of 293.
  // With a bound of 3/4 of the range, multiplying and shifting without rejection gives every third value twice the
  // chance of the others, which shows in the residues modulo 3.
  const uint64_t bound = uint64_t{3} << 62;
  int lower = 0;
  for (int i = 0; i < 100000; ++i) {
    const uint64_t value = random.Below(bound);
    ASSERT_LT(value, bound);
    lower += value < bound / 2;
  }
  EXPECT_NEAR(lower, 50000, 800);
  int residue[3] = {};
  for (int i = 0; i < 90000; ++i) ++residue[random.Below(bound) % 3];
  for (const int count : residue) EXPECT_NEAR(count, 30000, 710);
}

}  // namespace
}  // namespace paramd
