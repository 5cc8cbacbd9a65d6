#include "common/tensor/codec_onebit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using onebit_internal::Kernels;
using onebit_internal::KernelsFor;

constexpr size_t kSizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 2047, 2048, 2049, 100007};

std::vector<float> RandomValues(size_t size, float scale = 1) {
  Philox random(TestSeed(), RandomStream::kTest);
  std::vector<float> values(size);
  for (float& value : values) value = random.Normal() * scale;
  return values;
}

std::string Encode(const std::vector<float>& values, absl::Span<float> residual = {}) {
  std::string bytes(OnebitEncodedBytes(values.size()), '\0');
  EncodeOnebit(values, residual, bytes.data());
  return bytes;
}

std::vector<float> Decode(const std::string& bytes, size_t size) {
  std::vector<float> values(size);
  DecodeOnebit(bytes.data(), absl::MakeSpan(values));
  return values;
}

TEST(CodecOnebitTest, Sizes) {
  EXPECT_EQ(OnebitEncodedBytes(0), 0u);
  EXPECT_EQ(OnebitEncodedBytes(1), 5u);
  EXPECT_EQ(OnebitEncodedBytes(8), 5u);
  EXPECT_EQ(OnebitEncodedBytes(9), 6u);
  EXPECT_EQ(OnebitEncodedBytes(2048), 260u);
  EXPECT_EQ(OnebitEncodedBytes(2049), 265u);
}

TEST(CodecOnebitTest, BytesOfASmallBlock) {
  const std::string bytes = Encode({1, -3, 2, -0.0f, 0, 1, -1, 0, -1});  // Mean magnitude 9 / 9 = 1.
  const char expected[] = {0, 0, '\x80', '\x3f', 0x4a, 0x01};
  EXPECT_EQ(bytes, std::string(expected, sizeof(expected)));
  EXPECT_EQ(Decode(bytes, 9), (std::vector<float>{1, -1, 1, -1, 1, 1, -1, 1, -1}));
}

TEST(CodecOnebitTest, DecodesToTheMeanMagnitudeAndKeepsTheRest) {
  for (const size_t size : kSizes) {
    const std::vector<float> values = RandomValues(size);
    std::vector<float> residual(size);
    const std::vector<float> decoded = Decode(Encode(values, absl::MakeSpan(residual)), size);
    for (size_t begin = 0; begin < size; begin += 2048) {
      const size_t end = std::min(begin + 2048, size);
      double mean = 0;
      for (size_t i = begin; i < end; ++i) mean += std::fabs(values[i]) / static_cast<double>(end - begin);
      for (size_t i = begin; i < end; ++i) {
        ASSERT_NEAR(decoded[i], std::copysign(mean, values[i]), 1e-5 * mean) << i;
        ASSERT_EQ(residual[i], values[i] - decoded[i]) << i;
      }
    }
  }
}

// With error feedback what was sent catches up with what there was to send.
TEST(CodecOnebitTest, SumOfWhatIsSentFollowsTheSumOfTheValues) {
  std::vector<float> values = RandomValues(500), residual(500), sent(500);
  for (float& value : values) value = std::clamp(value, -1.5f, 1.5f);
  for (int round = 0; round < 1000; ++round) {
    const std::vector<float> decoded = Decode(Encode(values, absl::MakeSpan(residual)), 500);
    for (size_t i = 0; i < 500; ++i) sent[i] += decoded[i];
  }
  for (size_t i = 0; i < 500; ++i) EXPECT_NEAR(sent[i] / 1000, values[i], 0.1) << i;
}

TEST(CodecOnebitTest, ResidualIsAddedFirst) {
  const std::vector<float> values = RandomValues(3000);
  std::vector<float> residual = RandomValues(3000, 0.1f), sum(3000);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = residual[i] + values[i];
  EXPECT_EQ(Encode(values, absl::MakeSpan(residual)), Encode(sum));
}

TEST(CodecOnebitTest, ValuesThatAreNotFiniteShowAndDoNotStayInTheResidual) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {infinity, -infinity, nan, -nan}) {
    std::vector<float> values = RandomValues(5000), residual = RandomValues(5000);
    values[3000] = bad;
    const std::string bytes = Encode(values, absl::MakeSpan(residual));
    const std::vector<float> decoded = Decode(bytes, 5000);
    for (size_t i = 0; i < 5000; ++i) {
      const bool in_block = i / 2048 == 1;
      EXPECT_EQ(std::isfinite(decoded[i]), !in_block) << bad << " " << i;
      EXPECT_TRUE(std::isfinite(residual[i]));
      if (in_block) {
        EXPECT_EQ(residual[i], 0) << i;
      }
    }
    EXPECT_EQ(bytes.substr(260, 260), std::string("\0\0\xc0\x7f", 4) + std::string(256, '\0'));
  }
  // A sum that overflows counts as well.
  EXPECT_TRUE(std::isnan(Decode(Encode(std::vector<float>(100, 1e38f)), 100)[0]));
}

TEST(CodecOnebitTest, UnusedBitsMeanNothing) {
  std::string bytes = Encode({1, -1, 1});
  const std::vector<float> decoded = Decode(bytes, 3);
  bytes[4] = static_cast<char>(bytes[4] | 0xf8);
  EXPECT_EQ(Decode(bytes, 3), decoded);
}

TEST(CodecOnebitTest, TheSameBitsOnAllPaths) {
  const Kernels& portable = KernelsFor(Isa::kPortable);
  const Kernels& best = KernelsFor(DetectIsa());
  for (const size_t size : kSizes) {
    const std::vector<float> values = RandomValues(size, 3);
    EXPECT_EQ(std::bit_cast<uint32_t>(best.sum_of_magnitudes(values.data(), size)),
              std::bit_cast<uint32_t>(portable.sum_of_magnitudes(values.data(), size)));
    std::string bits((size + 7) / 8, 'x'), portable_bits = bits;
    std::vector<float> residual(size), portable_residual(size), out(size), portable_out(size);
    best.signs(values.data(), size, 0.3f, bits.data(), residual.data());
    portable.signs(values.data(), size, 0.3f, portable_bits.data(), portable_residual.data());
    EXPECT_EQ(bits, portable_bits);
    EXPECT_EQ(residual, portable_residual);
    best.expand(bits.data(), size, 0.3f, out.data());
    portable.expand(bits.data(), size, 0.3f, portable_out.data());
    EXPECT_EQ(out, portable_out);
  }
}

}  // namespace
}  // namespace paramd
