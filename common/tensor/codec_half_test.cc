#include "common/tensor/codec_half.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "common/tensor/dtype.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using half_internal::BestIsa;
using half_internal::Kernels;
using half_internal::KernelsFor;

constexpr size_t kSizes[] = {0, 1, 7, 8, 15, 16, 17, 31, 1023, 100007};

// Bit patterns of all kinds: normal ones of any exponent, denormals, halfway cases, infinities, NaNs of either kind.
std::vector<float> RandomPatterns(size_t size) {
  Philox random(TestSeed(), RandomStream::kTest);
  std::vector<float> values(size);
  for (float& value : values) {
    uint32_t bits = random.Next32();
    switch (random.Below(4)) {
      case 0:
        bits = (bits & 0xffff0000) | 0x8000;  // Halfway between two bf16.
        break;
      case 1:
        bits = (bits & 0x8fffffff) | 0x30000000;  // Magnitudes that fp16 has, or nearly.
        break;
      case 2:
        bits = (bits & 0x9fffe000) | 0x20001000;  // Halfway between two fp16, some of them denormal.
        break;
    }
    value = std::bit_cast<float>(bits);
  }
  return values;
}

class CodecHalfTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > BestIsa()) GTEST_SKIP() << "this processor lacks " << std::string(IsaName(GetParam()));
  }
  const Kernels& kernels() const { return KernelsFor(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, CodecHalfTest, testing::Values(Isa::kPortable, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(CodecHalfTest, NarrowingIsTheScalarConversionAtAnyAddress) {
  for (const size_t size : kSizes) {
    const std::vector<float> values = RandomPatterns(size);
    std::string bf16(2 * size + 2, 'x'), fp16 = bf16;
    kernels().encode_bf16(values.data(), size, bf16.data() + 1);
    kernels().encode_fp16(values.data(), size, fp16.data() + 1);
    for (size_t i = 0; i < size; ++i) {
      uint16_t brain, half;
      std::memcpy(&brain, bf16.data() + 1 + 2 * i, 2);
      std::memcpy(&half, fp16.data() + 1 + 2 * i, 2);
      ASSERT_EQ(brain, FloatToBFloat16(values[i])) << std::hexfloat << values[i];
      ASSERT_EQ(half, FloatToFloat16(values[i])) << std::hexfloat << values[i];
    }
    EXPECT_EQ(bf16.front(), 'x');
    EXPECT_EQ(bf16.back(), 'x');
    EXPECT_EQ(fp16.front(), 'x');
    EXPECT_EQ(fp16.back(), 'x');
  }
}

TEST_P(CodecHalfTest, WideningIsTheScalarConversionOfAllPatternsAtAnyAddress) {
  std::string bytes(1 + 2 * 65536, '\0');
  for (int i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    std::memcpy(bytes.data() + 1 + 2 * i, &bits, 2);
  }
  for (const size_t size : {size_t{65536}, size_t{65535}, size_t{13}}) {
    std::vector<float> bf16(size), fp16(size);
    kernels().decode_bf16(bytes.data() + 1, size, bf16.data());
    kernels().decode_fp16(bytes.data() + 1, size, fp16.data());
    for (size_t i = 0; i < size; ++i) {
      const uint16_t bits = static_cast<uint16_t>(i);
      ASSERT_EQ(std::bit_cast<uint32_t>(bf16[i]), std::bit_cast<uint32_t>(BFloat16ToFloat(bits))) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(fp16[i]), std::bit_cast<uint32_t>(Float16ToFloat(bits))) << i;
    }
  }
}

TEST(CodecHalfDispatchTest, PublicFunctionsHaveTheSameBits) {
  const std::vector<float> values = RandomPatterns(1001);
  std::vector<uint16_t> bf16(1001), fp16(1001);
  EncodeBf16(values, absl::MakeSpan(bf16));
  EncodeFp16(values, absl::MakeSpan(fp16));
  std::vector<float> from_bf16(1001), from_fp16(1001);
  DecodeBf16(reinterpret_cast<const char*>(bf16.data()), absl::MakeSpan(from_bf16));
  DecodeFp16(reinterpret_cast<const char*>(fp16.data()), absl::MakeSpan(from_fp16));
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(bf16[i], FloatToBFloat16(values[i]));
    ASSERT_EQ(fp16[i], FloatToFloat16(values[i]));
    ASSERT_EQ(std::bit_cast<uint32_t>(from_bf16[i]), std::bit_cast<uint32_t>(BFloat16ToFloat(bf16[i])));
    ASSERT_EQ(std::bit_cast<uint32_t>(from_fp16[i]), std::bit_cast<uint32_t>(Float16ToFloat(fp16[i])));
  }
}

}  // namespace
}  // namespace paramd
