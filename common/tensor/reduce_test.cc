#include "common/tensor/reduce.h"

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

TEST_P(ReduceTest, AddIsTheElementwiseSum) {
  for (const size_t size : kSizes) {
    for (const size_t offset : kOffsets) {
      const std::vector<float> src = RandomValues(size + offset, 1);
      std::vector<float> dst = RandomValues(size + offset, 2), expected = dst;
      for (size_t i = offset; i < size + offset; ++i) expected[i] = expected[i] + src[i];
      kernels().add(dst.data() + offset, reinterpret_cast<const char*>(src.data() + offset), size);
      ASSERT_TRUE(SameBits(dst, expected)) << size << " at " << offset;
    }
  }
}

TEST_P(ReduceTest, AddReadsFromAnyByteAddress) {
  for (const size_t size : kSizes) {
    const std::vector<float> src = RandomValues(size, 1);
    std::vector<float> dst = RandomValues(size, 2), expected = dst;
    for (size_t i = 0; i < size; ++i) expected[i] = expected[i] + src[i];
    std::string bytes(size * 4 + 1, 'x');
    if (size > 0) std::memcpy(bytes.data() + 1, src.data(), size * 4);
    kernels().add(dst.data(), bytes.data() + 1, size);
    ASSERT_TRUE(SameBits(dst, expected)) << size;
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

// The order that the header defines, spelled out.
double NormByDefinition(const float* values, size_t size) {
  double lanes[16] = {};
  for (size_t i = 0; i < size; ++i) {
    const double x = values[i];
    lanes[i % 16] = lanes[i % 16] + x * x;
  }
  for (int j = 0; j < 8; ++j) lanes[j] += lanes[j + 8];
  for (int j = 0; j < 4; ++j) lanes[j] += lanes[j + 4];
  for (int j = 0; j < 2; ++j) lanes[j] += lanes[j + 2];
  return lanes[0] + lanes[1];
}

TEST_P(ReduceTest, NormHasTheDefinedBits) {
  for (const size_t size : kSizes) {
    for (const size_t offset : kOffsets) {
      const std::vector<float> values = RandomValues(size + offset, 3);
      const double expected = NormByDefinition(values.data() + offset, size);
      const double norm = kernels().squared_norm(values.data() + offset, size);
      ASSERT_EQ(std::bit_cast<uint64_t>(norm), std::bit_cast<uint64_t>(expected)) << size << " at " << offset;
    }
  }
}

TEST_P(ReduceTest, NormOfNonFiniteValuesIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {0, 15, 16, 1000, 1022}) {
      std::vector<float> values = RandomValues(1023, 4);
      values[at] = bad;
      EXPECT_FALSE(std::isfinite(kernels().squared_norm(values.data(), values.size()))) << bad << " at " << at;
    }
  }
  // The largest floats do not overflow.
  const std::vector<float> large(100, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(kernels().squared_norm(large.data(), large.size())));
}

TEST(ReduceDispatchTest, PublicFunctionsUseAPathWithTheSameBits) {
  const std::vector<float> a = RandomValues(1023, 5), b = RandomValues(1023, 6);
  const Kernels& portable = KernelsFor(Isa::kPortable);
  std::vector<float> sum = a, bytes_sum = a, expected = a;
  AddInto(absl::MakeSpan(sum), b);
  AddBytesInto(absl::MakeSpan(bytes_sum), absl::string_view(reinterpret_cast<const char*>(b.data()), b.size() * 4));
  portable.add(expected.data(), reinterpret_cast<const char*>(b.data()), b.size());
  EXPECT_TRUE(SameBits(sum, expected));
  EXPECT_TRUE(SameBits(bytes_sum, expected));
  Scale(absl::MakeSpan(sum), -1.7f);
  portable.scale(expected.data(), -1.7f, expected.size());
  EXPECT_TRUE(SameBits(sum, expected));
  EXPECT_EQ(SquaredNorm(sum), portable.squared_norm(expected.data(), expected.size()));
  EXPECT_EQ(SquaredNorm({}), 0);
}

}  // namespace
}  // namespace paramd
