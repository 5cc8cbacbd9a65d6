#include "common/tensor/dtype.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(DTypeTest, NamesAndSizes) {
  const struct {
    const char* name;
    int64_t size;
  } kAll[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
              {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  int index = 0;
  for (const auto& [name, size] : kAll) {
    const std::optional<DType> dtype = ParseDType(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(static_cast<int>(*dtype), index++);
    EXPECT_EQ(DTypeName(*dtype), name);
    EXPECT_EQ(DTypeSize(*dtype), size);
  }
  EXPECT_FALSE(ParseDType("f32").has_value());
  EXPECT_FALSE(ParseDType("").has_value());
}

// A 16-bit format by its definition: `mantissa_bits`, exponent bias and range, through doubles.
struct Format {
  int mantissa_bits;
  int exponent_bits;

  double Value(uint16_t bits) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) {
      return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
    }
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  }

  // Nearest, ties to even, by comparing with the neighbours; the first pattern beyond the largest finite value counts
  // as the next power of two, as IEEE rounding has it.
  uint16_t Round(float value) const {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(static_cast<double>(value));
    const uint16_t infinity = static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
    uint16_t low = 0, high = infinity;
    while (high - low > 1) {
      const uint16_t middle = (low + high) / 2;
      (Value(middle) <= magnitude ? low : high) = middle;
    }
    const double above = high == infinity ? std::ldexp(1.0, 1 << (exponent_bits - 1)) : Value(high);
    const double to_low = magnitude - Value(low), to_high = above - magnitude;
    if (to_low < to_high) return sign | low;
    if (to_high < to_low) return sign | high;
    return sign | (low % 2 == 0 ? low : high);
  }
};

constexpr Format kBFloat16{7, 8}, kFloat16{10, 5};

// Floats around every 16-bit value: itself, the midpoint to the next one, and their neighbours.
std::vector<float> Around(const Format& format) {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::denorm_min(),
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity()};
  for (int bits = 0; bits < 65536; ++bits) {
    const double value = format.Value(static_cast<uint16_t>(bits));
    if (!std::isfinite(value)) continue;
    const double next = format.Value(static_cast<uint16_t>(bits + 1));
    const double step = std::isfinite(next) ? next - value : value - format.Value(static_cast<uint16_t>(bits - 1));
    for (const double x : {value, value + step / 2}) {
      const float f = static_cast<float>(x);
      values.insert(values.end(), {f, std::nextafter(f, 1e38f), std::nextafter(f, -1e38f)});
    }
  }
  Philox random(TestSeed(), RandomStream::kTest);
  for (int i = 0; i < 200000; ++i) {
    const float f = std::bit_cast<float>(random.Next32());
    if (!std::isnan(f)) values.push_back(f);
  }
  return values;
}

TEST(Float16Test, WideningIsExactForAllPatterns) {
  for (int i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    for (const auto& [value, expected] : {std::pair(Float16ToFloat(bits), kFloat16.Value(bits)),
                                          std::pair(BFloat16ToFloat(bits), kBFloat16.Value(bits))}) {
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(value)) << i;
      } else {
        ASSERT_EQ(value, expected) << i;
      }
      ASSERT_EQ(std::signbit(value), i >= 0x8000) << i;
    }
  }
}

TEST(Float16Test, RoundTripOfAllPatterns) {
  for (int i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    const bool nan16 = std::isnan(kFloat16.Value(bits)), nan_b16 = std::isnan(kBFloat16.Value(bits));
    ASSERT_EQ(FloatToFloat16(Float16ToFloat(bits)), nan16 ? bits | 0x200 : bits) << i;
    ASSERT_EQ(FloatToBFloat16(BFloat16ToFloat(bits)), nan_b16 ? bits | 0x40 : bits) << i;
  }
}

TEST(Float16Test, NarrowingRoundsToNearestEven) {
  for (const float value : Around(kFloat16)) ASSERT_EQ(FloatToFloat16(value), kFloat16.Round(value)) << value;
  for (const float value : Around(kBFloat16)) ASSERT_EQ(FloatToBFloat16(value), kBFloat16.Round(value)) << value;
}

TEST(Float16Test, NansStayNans) {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7f80ffffu}) {
    const float nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(kFloat16.Value(FloatToFloat16(nan)))) << bits;
    EXPECT_TRUE(std::isnan(kBFloat16.Value(FloatToBFloat16(nan)))) << bits;
    EXPECT_EQ(FloatToFloat16(nan) >> 15, bits >> 31);
    EXPECT_EQ(FloatToBFloat16(nan) >> 15, bits >> 31);
  }
}

}  // namespace
}  // namespace paramd
