#include "common/tensor/reduce.h"

#include <algorithm>
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

using reduce_internal::Kernels;
using reduce_internal::KernelsFor;

constexpr size_t kSizes[] = {0, 1, 7, 8, 15, 16, 17, 31, 1023, 1000007};
constexpr size_t kOffsets[] = {0, 1, 3};  // Elements by which the data is shifted off its alignment.

std::vector<float> RandomValues(size_t size, uint32_t a) {
  Philox random(TestSeed(), RandomStream::kTest, a);
  std::vector<float> values(size);
  for (float& value : values) value = random.Normal() * std::exp2(static_cast<float>(random.Below(40)) - 20);
  return values;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// All paths this processor has.
class ReduceTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > DetectIsa()) GTEST_SKIP() << "this processor lacks " << std::string(IsaName(GetParam()));
  }
  const Kernels& kernels() const { return KernelsFor(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, ReduceTest, testing::Values(Isa::kPortable, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(ReduceTest, SumIsTheElementwiseSum) {
  for (const size_t size : kSizes) {
    for (const size_t offset : kOffsets) {
      const std::vector<float> a = RandomValues(size + offset, 1), b = RandomValues(size + offset, 2);
      std::vector<float> sum(size + offset, 7.0f), expected = sum;
      for (size_t i = offset; i < size + offset; ++i) expected[i] = a[i] + b[i];
      const char* const bytes = reinterpret_cast<const char*>(a.data() + offset);
      kernels().sum(bytes, b.data() + offset, sum.data() + offset, size);
      ASSERT_TRUE(SameBits(sum, expected)) << size << " at " << offset;
      sum = b;
      std::copy_n(b.data(), offset, expected.data());
      kernels().sum(bytes, sum.data() + offset, sum.data() + offset, size);
      ASSERT_TRUE(SameBits(sum, expected)) << size << " at " << offset << " in place";
    }
  }
}

TEST_P(ReduceTest, SumReadsFromAnyByteAddress) {
  for (const size_t size : kSizes) {
    const std::vector<float> a = RandomValues(size, 1), b = RandomValues(size, 2);
    std::vector<float> sum(size), expected(size);
    for (size_t i = 0; i < size; ++i) expected[i] = a[i] + b[i];
    std::string bytes(size * 4 + 1, 'x');
    if (size > 0) std::memcpy(bytes.data() + 1, a.data(), size * 4);
    kernels().sum(bytes.data() + 1, b.data(), sum.data(), size);
    ASSERT_TRUE(SameBits(sum, expected)) << size;
  }
}

TEST_P(ReduceTest, ScaleIsTheElementwiseProduct) {
  for (const size_t size : kSizes) {
    for (const size_t offset : kOffsets) {
      std::vector<float> values = RandomValues(size + offset, 1), expected = values;
      for (size_t i = offset; i < size + offset; ++i) expected[i] = expected[i] * 0.3f;
      kernels().scale(values.data() + offset, 0.3f, size);
      ASSERT_TRUE(SameBits(values, expected)) << size << " at " << offset;
    }
  }
}

// The order that the header defines, spelled out; volatile, so that nothing is fused or reordered.
double NormByDefinition(const float* values, size_t size, float average) {
  volatile double lanes[16] = {};
  for (size_t i = 0; i < size; ++i) {
    const volatile float averaged = values[i] * average;
    const volatile double square = static_cast<double>(averaged) * averaged;
    lanes[i % 16] = lanes[i % 16] + square;
  }
  for (int width = 8; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) lanes[j] = lanes[j] + lanes[j + width];
  }
  return lanes[0];
}

// Folds what the kernels leave in the lanes.
double Fold(const double* lanes) {
  double folded[16];
  std::copy_n(lanes, 16, folded);
  for (int width = 8; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) folded[j] += folded[j + width];
  }
  return folded[0];
}

TEST_P(ReduceTest, SquaresHaveTheDefinedBits) {
  for (const size_t size : kSizes) {
    const std::vector<float> values = RandomValues(size, 3);
    for (const size_t shift : {0, 1, 2, 3}) {  // Bytes.
      for (const float average : {1.0f, 1.0f / 3}) {
        std::string bytes(size * 4 + shift, 'x');
        if (size > 0) std::memcpy(bytes.data() + shift, values.data(), size * 4);
        double lanes[16] = {};
        kernels().squares(bytes.data() + shift, average, lanes, size);
        ASSERT_EQ(std::bit_cast<uint64_t>(Fold(lanes)),
                  std::bit_cast<uint64_t>(NormByDefinition(values.data(), size, average)))
            << size << " shifted by " << shift;
      }
    }
  }
}

TEST_P(ReduceTest, SumSquaresIsTheSumAndItsSquares) {
  for (const size_t size : kSizes) {
    const std::vector<float> a = RandomValues(size, 1), b = RandomValues(size, 2);
    std::vector<float> sum(size), expected(size);
    for (size_t i = 0; i < size; ++i) expected[i] = a[i] + b[i];
    double lanes[16] = {};
    kernels().sum_squares(reinterpret_cast<const char*>(a.data()), b.data(), sum.data(), 0.25f, lanes, size);
    ASSERT_TRUE(SameBits(sum, expected)) << size;
    ASSERT_EQ(Fold(lanes), NormByDefinition(expected.data(), size, 0.25f)) << size;
  }
}

TEST_P(ReduceTest, SquaresOfNonFiniteValuesAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {0, 15, 16, 1000, 1022}) {
      std::vector<float> values = RandomValues(1023, 4);
      values[at] = bad;
      double lanes[16] = {};
      kernels().squares(reinterpret_cast<const char*>(values.data()), 0.5f, lanes, values.size());
      EXPECT_FALSE(std::isfinite(Fold(lanes))) << bad << " at " << at;
    }
  }
  // The largest floats do not overflow.
  const std::vector<float> large(100, std::numeric_limits<float>::max());
  double lanes[16] = {};
  kernels().squares(reinterpret_cast<const char*>(large.data()), 1, lanes, large.size());
  EXPECT_TRUE(std::isfinite(Fold(lanes)));
}

TEST(SquaredNormSumTest, PiecesGiveTheBitsOfTheWhole) {
  const std::vector<float> values = RandomValues(100007, 5);
  const double whole = SquaredNorm(values, 1.0f / 3);
  EXPECT_EQ(whole, NormByDefinition(values.data(), values.size(), 1.0f / 3));
  for (const size_t piece : {16, 48, 1024, 99984}) {
    SquaredNormSum norm(1.0f / 3);
    for (size_t begin = 0; begin < values.size(); begin += piece) {
      norm.Add(absl::MakeConstSpan(values).subspan(begin, piece));
    }
    EXPECT_EQ(norm.Total(), whole) << piece;
  }
  EXPECT_EQ(SquaredNormSum().Total(), 0);
}

TEST(ReduceDispatchTest, PublicFunctionsUseAPathWithTheSameBits) {
  const std::vector<float> a = RandomValues(1023, 5), b = RandomValues(1023, 6);
  const Kernels& portable = KernelsFor(Isa::kPortable);
  std::vector<float> sum = a, bytes_sum = a, third(1023), normed(1023), expected(1023);
  SquaredNormSum norm(0.5f);
  AddInto(absl::MakeSpan(sum), b);
  AddBytesInto(absl::MakeSpan(bytes_sum), AsBytes(b));
  SumBytes(AsBytes(a), b, absl::MakeSpan(third));
  SumBytes(AsBytes(a), b, absl::MakeSpan(normed), norm);
  portable.sum(AsBytes(a).data(), b.data(), expected.data(), a.size());
  for (const std::vector<float>& result : {sum, bytes_sum, third, normed}) EXPECT_TRUE(SameBits(result, expected));
  EXPECT_EQ(norm.Total(), NormByDefinition(expected.data(), expected.size(), 0.5f));
  Scale(absl::MakeSpan(sum), -1.7f);
  portable.scale(expected.data(), -1.7f, expected.size());
  EXPECT_TRUE(SameBits(sum, expected));
  EXPECT_EQ(SquaredNorm({}), 0);
}

}  // namespace
}  // namespace paramd
