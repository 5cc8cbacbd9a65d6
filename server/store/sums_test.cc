#include "server/store/sums.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

std::vector<float> Random(size_t size, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

TEST(SumsTest, AddsPayloadsAtAnyAlignment) {
  for (size_t size : {0, 1, 31, 1023, 4096}) {
    const std::vector<float> addend = Random(size, 1);
    for (size_t shift : {0, 1, 2, 3}) {
      std::vector<float> sum = Random(size, 2), expected = sum;
      for (size_t i = 0; i < size; ++i) expected[i] += addend[i];
      const std::string bytes = std::string(shift, 'x') + std::string(AsPayload(addend).data(), size * 4);
      AddPayload(absl::string_view(bytes).substr(shift), absl::MakeSpan(sum));
      EXPECT_EQ(sum, expected) << size << " shift " << shift;
    }
  }
}

// The documented order, written down again in the simplest way: the vector code must give these bits.
double NormByDefinition(const std::vector<float>& gradient, float average) {
  volatile double lanes[16] = {};
  for (size_t i = 0; i < gradient.size(); ++i) {
    const volatile float averaged = gradient[i] * average;
    const volatile double square = static_cast<double>(averaged) * averaged;
    lanes[i % 16] = lanes[i % 16] + square;
  }
  for (int width = 8; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] = lanes[lane] + lanes[lane + width];
  }
  return lanes[0];
}

TEST(SumsTest, SquaredNormHasTheDocumentedBits) {
  for (size_t size : {0, 1, 15, 16, 17, 31, 1023, 65536}) {
    const std::vector<float> gradient = Random(size, size + 3);
    EXPECT_EQ(SquaredNorm(gradient, 1.0f / 3), NormByDefinition(gradient, 1.0f / 3)) << size;
  }
}

TEST(SumsTest, SquaredNormIsFiniteExactlyWhenTheGradientIs) {
  std::vector<float> gradient(100, 1.0f);
  EXPECT_EQ(SquaredNorm(gradient, 1), 100);
  gradient[37] = std::numeric_limits<float>::max();
  gradient[99] = -std::numeric_limits<float>::max();
  EXPECT_TRUE(std::isfinite(SquaredNorm(gradient, 1)));
  for (size_t i : {0, 50, 99}) {
    for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> broken(100, 1.0f);
      broken[i] = bad;
      EXPECT_FALSE(std::isfinite(SquaredNorm(broken, 0.25f))) << i;
    }
  }
}

}  // namespace
}  // namespace paramd
