#include "common/tensor/codec_topk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "common/tensor/dtype.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using topk_internal::KernelsFor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomValues(size_t size, float scale = 1) {
  Philox random(TestSeed(), RandomStream::kTest);
  std::vector<float> values(size);
  for (float& value : values) value = random.Normal() * scale;
  return values;
}

std::string Encode(const std::vector<float>& values, size_t count, absl::Span<float> residual = {}) {
  std::string bytes(TopkEncodedBytes(values.size(), count), 'x');
  bytes.resize(EncodeTopk(values, count, residual, bytes.data()));
  return bytes;
}

std::vector<float> Decode(absl::string_view bytes, size_t size) {
  std::vector<float> values(size, 123);
  EXPECT_OK(DecodeTopk(bytes, absl::MakeSpan(values)));
  EXPECT_TRUE(bytes.empty());
  return values;
}

float Rounded(float value) { return BFloat16ToFloat(FloatToBFloat16(value)); }

// The definition: a stable sort by magnitude.
std::vector<float> ByDefinition(const std::vector<float>& values, size_t count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::fabs(values[a]) > std::fabs(values[b]); });
  std::vector<float> decoded(values.size());
  for (size_t i = 0; i < count; ++i) decoded[order[i]] = Rounded(values[order[i]]);
  return decoded;
}

TEST(CodecTopkTest, Counts) {
  EXPECT_EQ(TopkCount(0, 0.5), 0u);
  EXPECT_EQ(TopkCount(1, 0.001), 1u);
  EXPECT_EQ(TopkCount(1000, 0.01), 10u);
  EXPECT_EQ(TopkCount(1001, 0.01), 11u);
  EXPECT_EQ(TopkCount(7, 1), 7u);
  EXPECT_EQ(TopkEncodedBytes(65536, 3), 16u);
  EXPECT_EQ(TopkEncodedBytes(65537, 3), 20u);
}

TEST(CodecTopkTest, BytesOfASmallRun) {
  const std::string bytes = Encode({0.5f, -2, 0, 1, -1}, 3);
  // Three values at 1, 3 and 4: of the equal magnitudes at 3 and 4 both fit.
  const char expected[] = {3, 0, 0, 0, 1, 0, 3, 0, 4, 0, 0, '\xc0', '\x80', '\x3f', '\x80', '\xbf'};
  EXPECT_EQ(bytes, std::string(expected, sizeof(expected)));
  EXPECT_EQ(Decode(bytes, 5), (std::vector<float>{0, -2, 0, 1, -1}));
}

TEST(CodecTopkTest, SendsTheLargestAndKeepsTheRest) {
  for (const size_t size : {1, 5, 1000, 4095, 4096, 20000, 65536, 65537, 262144, 300001}) {
    for (const double ratio : {0.0001, 0.01, 0.3, 1.0}) {
      const std::vector<float> values = RandomValues(size);
      const size_t count = TopkCount(size, ratio);
      std::vector<float> residual(size);
      const std::string bytes = Encode(values, count, absl::MakeSpan(residual));
      EXPECT_EQ(bytes.size(), TopkEncodedBytes(size, count)) << size << " " << ratio;
      const std::vector<float> decoded = Decode(bytes, size);
      ASSERT_EQ(decoded, ByDefinition(values, count)) << size << " " << ratio;
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(residual[i], values[i] - decoded[i]) << i;
    }
  }
}

TEST(CodecTopkTest, AmongEqualsTheLowerPlaceIsSent) {
  for (const size_t size : {100, 100000}) {
    std::vector<float> values(size, 1);
    for (size_t i = 0; i < size; i += 3) values[i] = -1;
    values[size - 1] = 2;
    EXPECT_EQ(Decode(Encode(values, 10), size), ByDefinition(values, 10));
  }
}

TEST(CodecTopkTest, ZerosAreNotSent) {
  std::vector<float> values(100000);
  EXPECT_EQ(Encode(values, 1000).size(), TopkEncodedBytes(values.size(), 0));
  values[70000] = 1e-30f;
  values[7] = -3;
  const std::string bytes = Encode(values, 1000);
  EXPECT_EQ(bytes.size(), TopkEncodedBytes(values.size(), 2));
  EXPECT_EQ(Decode(bytes, values.size())[7], -3);
}

// The guess of the threshold comes from a sample; these are not like theirs.
TEST(CodecTopkTest, FindsTheLargestWhereverTheyAre) {
  constexpr size_t kSize = 200000;
  std::vector<float> growing(kSize), blocks(kSize), columns(kSize), few(kSize), steep(kSize);
  for (size_t i = 0; i < kSize; ++i) {
    growing[i] = static_cast<float>(i);
    blocks[i] = i / 1000 == 77 ? 1.0f + static_cast<float>(i % 7) : 1e-6f;
    columns[i] = i % 128 == 5 ? 100.0f : static_cast<float>(i % 11);
    few[i] = i % 5000 == 1 ? -1.0f : 0.0f;
    steep[i] = std::exp2(-static_cast<float>(i % 140));
  }
  for (const std::vector<float>& values : {growing, blocks, columns, few, steep}) {
    for (const size_t count : {1, 30, 2000, 100000}) {
      const size_t nonzero = values.size() - std::count(values.begin(), values.end(), 0.0f);
      EXPECT_EQ(Decode(Encode(values, count), kSize), ByDefinition(values, std::min(count, nonzero)));
    }
  }
}

TEST(CodecTopkTest, ASampleOfTheLargestMisleadsNobody) {
  constexpr size_t kSize = 262144, kStride = kSize / 4096;
  std::vector<float> values(kSize);
  for (size_t i = 0; i < kSize; ++i) values[i] = static_cast<float>(1 + i % 1000);
  for (size_t i = 0; i < 4096; ++i) values[topk_internal::SampledPlace(i, kStride)] = -1e20f;
  EXPECT_EQ(Decode(Encode(values, 20000), kSize), ByDefinition(values, 20000));
}

TEST(CodecTopkTest, ResidualIsAddedFirst) {
  const std::vector<float> values = RandomValues(3000);
  std::vector<float> residual = RandomValues(3000, 0.1f), sum(3000);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = residual[i] + values[i];
  EXPECT_EQ(Encode(values, 30, absl::MakeSpan(residual)), Encode(sum, 30));
}

TEST(CodecTopkTest, EverythingIsSentInTheEnd) {
  const std::vector<float> values = RandomValues(1000);
  std::vector<float> residual(1000), sent(1000);
  for (int round = 0; round < 1000; ++round) {
    const std::vector<float> decoded = Decode(Encode(values, 10, absl::MakeSpan(residual)), 1000);
    for (size_t i = 0; i < 1000; ++i) sent[i] += decoded[i];
  }
  for (size_t i = 0; i < 1000; ++i) EXPECT_NEAR(sent[i] / 1000, values[i], 0.2) << i;
}

TEST(CodecTopkTest, ValuesThatAreNotFiniteShowAndDoNotStayInTheResidual) {
  for (const float bad : {kInfinity, -kInfinity, kNan, -kNan, std::numeric_limits<float>::max()}) {
    for (const size_t how_many : {1, 50}) {  // The second are more than are sent.
      std::vector<float> values = RandomValues(50000), residual = RandomValues(50000);
      for (size_t i = 0; i < how_many; ++i) values[100 * i + 99] = bad;
      const std::string bytes = Encode(values, 10, absl::MakeSpan(residual));
      const std::vector<float> decoded = Decode(bytes, 50000);
      EXPECT_FALSE(std::isfinite(decoded[99])) << bad;
      for (size_t i = 0; i < residual.size(); ++i) ASSERT_TRUE(std::isfinite(residual[i])) << bad << " at " << i;
      EXPECT_EQ(residual[99], 0);
    }
  }
  EXPECT_EQ(Encode({-kNan}, 1), std::string("\1\0\0\0\0\0\xc0\x7f", 8));
}

TEST(CodecTopkTest, MalformedBytesAreRefused) {
  const struct {
    const char* what;
    std::string bytes;
    size_t elements;
  } kCases[] = {
      {"no count", "", 5},
      {"half a count", std::string("\0\0", 2), 5},
      {"more values than places", std::string("\6\0\0\0", 4) + std::string(24, '\0'), 5},
      {"a count that is no size", "\xff\xff\xff\xff", 5},
      {"values missing", std::string("\1\0\0\0\2\0\0", 7), 5},
      {"place outside", std::string("\1\0\0\0\5\0\0\0", 8), 5},
      {"the same place twice", std::string("\2\0\0\0\1\0\1\0\0\0\0\0", 12), 5},
      {"places descend", std::string("\2\0\0\0\2\0\1\0\0\0\0\0", 12), 5},
      {"second block missing", std::string(4, '\0'), 65537},
      {"place outside the second block", std::string(4, '\0') + std::string("\1\0\0\0\1\0\0\0", 8), 65537},
  };
  for (const auto& [what, bytes, elements] : kCases) {
    absl::string_view rest = bytes;
    std::vector<float> out(elements);
    EXPECT_THAT(DecodeTopk(rest, absl::MakeSpan(out)),
                StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD"))
        << what;
  }
}

TEST(CodecTopkTest, TheSamePlacesOnAllPaths) {
  for (const size_t size : {0, 1, 7, 8, 9, 1023, 100007}) {
    std::vector<float> values = RandomValues(size);
    if (size > 8) values[8] = kNan, values[2] = -kInfinity;
    for (const uint32_t threshold : {1u, 0x3f800000u, 0x40400000u, 0x7f800000u}) {
      std::vector<uint32_t> best(size), portable(size);
      best.resize(KernelsFor(DetectIsa()).collect(values.data(), size, threshold, best.data()));
      portable.resize(KernelsFor(Isa::kPortable).collect(values.data(), size, threshold, portable.data()));
      EXPECT_EQ(best, portable);
      EXPECT_TRUE(std::is_sorted(best.begin(), best.end()));
    }
  }
}

}  // namespace
}  // namespace paramd
