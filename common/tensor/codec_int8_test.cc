#include "common/tensor/codec_int8.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using int8_internal::Kernels;
using int8_internal::KernelsFor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr size_t kSizes[] = {0, 1, 7, 8, 31, 32, 33, 255, 256, 257, 1023, 100007};

std::vector<float> RandomValues(size_t size, float scale = 1) {
  Philox random(TestSeed(), RandomStream::kTest);
  std::vector<float> values(size);
  for (float& value : values) value = random.Normal() * scale;
  return values;
}

std::string Encode(const std::vector<float>& values, absl::Span<float> residual = {}) {
  std::string bytes(Int8EncodedBytes(values.size()), '\0');
  EncodeInt8(values, residual, bytes.data());
  return bytes;
}

std::vector<float> Decode(const std::string& bytes, size_t size) {
  std::vector<float> values(size);
  DecodeInt8(bytes.data(), absl::MakeSpan(values));
  return values;
}

TEST(CodecInt8Test, Sizes) {
  EXPECT_EQ(Int8EncodedBytes(0), 0u);
  EXPECT_EQ(Int8EncodedBytes(1), 5u);
  EXPECT_EQ(Int8EncodedBytes(256), 260u);
  EXPECT_EQ(Int8EncodedBytes(257), 265u);
}

TEST(CodecInt8Test, BytesOfASmallBlock) {
  // Scale 127/127 = 1; ties go to even.
  const std::string bytes = Encode({127, -127, 0.5f, 1.5f, -2.5f, 0.25f, -0.0f});
  const char expected[] = {0, 0, '\x80', '\x3f', 127, -127, 0, 2, -2, 0, 0};
  EXPECT_EQ(bytes, std::string(expected, sizeof(expected)));
  EXPECT_EQ(Decode(bytes, 7), (std::vector<float>{127, -127, 0, 2, -2, 0, 0}));
}

TEST(CodecInt8Test, ErrorIsAtMostHalfAStepAndStaysInTheResidual) {
  for (const size_t size : kSizes) {
    const std::vector<float> values = RandomValues(size);
    std::vector<float> residual(size);
    const std::vector<float> decoded = Decode(Encode(values, absl::MakeSpan(residual)), size);
    for (size_t i = 0; i < size; ++i) {
      float largest = 0;
      for (size_t j = i / 256 * 256; j < std::min(i / 256 * 256 + 256, size); ++j) {
        largest = std::max(largest, std::fabs(values[j]));
      }
      ASSERT_LE(std::fabs(values[i] - decoded[i]), largest / 127 * 0.50001f) << i;
      ASSERT_EQ(residual[i], values[i] - decoded[i]) << i;
    }
  }
}

TEST(CodecInt8Test, ResidualIsAddedFirst) {
  const std::vector<float> values = RandomValues(600);
  std::vector<float> residual = RandomValues(600, 0.1f), sum(600);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = residual[i] + values[i];
  EXPECT_EQ(Encode(values, absl::MakeSpan(residual)), Encode(sum));
}

TEST(CodecInt8Test, TinyBlocksAreKeptBackAndNothingIsLost) {
  const std::vector<float> values(10, 1e-37f);  // 1e-37 / 127 is below the smallest scale.
  std::vector<float> residual(10);
  EXPECT_EQ(Decode(Encode(values, absl::MakeSpan(residual)), 10), std::vector<float>(10, 0));
  EXPECT_EQ(residual, values);
  EXPECT_EQ(Encode(std::vector<float>(10, 0)), std::string(14, '\0'));
}

TEST(CodecInt8Test, ValuesThatAreNotFiniteShowAndDoNotStayInTheResidual) {
  for (const float bad : {kInfinity, -kInfinity, kNan, -kNan, 0x1p127f, -std::numeric_limits<float>::max()}) {
    std::vector<float> values = RandomValues(700), residual = RandomValues(700);
    values[300] = bad;
    const std::string bytes = Encode(values, absl::MakeSpan(residual));
    const std::vector<float> decoded = Decode(bytes, 700);
    for (size_t i = 0; i < 700; ++i) {
      const bool in_block = i / 256 == 1;
      EXPECT_EQ(std::isfinite(decoded[i]), !in_block) << bad << " " << i;
      EXPECT_TRUE(std::isfinite(residual[i]));
      if (in_block) {
        EXPECT_EQ(residual[i], 0) << i;
      }
    }
    // The bytes do not depend on which of them it is.
    values[300] = kNan;
    EXPECT_EQ(bytes.substr(260, 260), Encode(values).substr(260, 260));
  }
  // Just below: finite and close.
  const std::vector<float> large = {0x1.fffffep126f, -1e38f};
  const std::vector<float> decoded = Decode(Encode(large), 2);
  EXPECT_NEAR(decoded[0] / large[0], 1, 1e-6);
  EXPECT_TRUE(std::isfinite(decoded[1]));
}

TEST(CodecInt8Test, TheSameBitsOnAllPaths) {
  const Kernels& portable = KernelsFor(Isa::kPortable);
  const Kernels& best = KernelsFor(DetectIsa());
  for (const size_t size : kSizes) {
    const std::vector<float> values = RandomValues(size, 3);
    EXPECT_EQ(best.largest_bits(values.data(), size), portable.largest_bits(values.data(), size));
    std::string q(size, 'x'), portable_q = q;
    std::vector<float> residual(size), portable_residual(size), out(size), portable_out(size);
    best.quantize(values.data(), size, 0.25f, 4.0f, q.data(), residual.data());
    portable.quantize(values.data(), size, 0.25f, 4.0f, portable_q.data(), portable_residual.data());
    EXPECT_EQ(q, portable_q);
    EXPECT_EQ(residual, portable_residual);
    best.dequantize(q.data(), size, 0.25f, out.data());
    portable.dequantize(q.data(), size, 0.25f, portable_out.data());
    EXPECT_EQ(out, portable_out);
    std::string without(size, 'x');
    best.quantize(values.data(), size, 0.25f, 4.0f, without.data(), nullptr);
    EXPECT_EQ(without, q);
  }
}

}  // namespace
}  // namespace paramd
