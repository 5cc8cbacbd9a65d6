#include "common/tensor/codec_onebit.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/tensor/reduce.h"

namespace paramd {
namespace {

using onebit_internal::Kernels;

constexpr size_t kLanes = 16;
constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kNan = 0x7fc00000;

float WithSignOf(float magnitude, uint32_t sign) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) ^ sign);
}

// -- portable; also the ends of the others --

// Adds the last size % kLanes magnitudes to their lanes and folds the lanes.
float FinishSum(float* lanes, const float* values, size_t size) {
  const size_t whole = size / kLanes * kLanes;
  for (size_t i = whole; i < size; ++i) lanes[i - whole] += std::fabs(values[i]);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

float SumOfMagnitudesPortable(const float* values, size_t size) {
  float lanes[kLanes] = {};
  for (size_t i = 0; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += std::fabs(values[i + j]);
  }
  return FinishSum(lanes, values, size);
}

void SignsPortable(const float* values, size_t size, float scale, char* bits, float* residual) {
  for (size_t at = 0; at < size; at += 8) {
    uint32_t byte = 0;
    for (size_t i = at; i < std::min(at + 8, size); ++i) {
      const uint32_t sign = std::bit_cast<uint32_t>(values[i]) & kSign;
      byte |= sign >> 31 << (i - at);
      if (residual != nullptr) residual[i] = values[i] - WithSignOf(scale, sign);
    }
    bits[at / 8] = static_cast<char>(byte);
  }
}

void ExpandPortable(const char* bits, size_t size, float scale, float* out) {
  for (size_t i = 0; i < size; ++i) {
    const uint32_t byte = static_cast<unsigned char>(bits[i / 8]);
    out[i] = WithSignOf(scale, byte >> i % 8 << 31);
  }
}

// -- AVX2 --

__attribute__((target("avx2"))) float SumOfMagnitudesAvx2(const float* values, size_t size) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
  for (size_t i = 0; i + kLanes <= size; i += kLanes) {
    low = _mm256_add_ps(low, _mm256_and_ps(_mm256_loadu_ps(values + i), magnitude));
    high = _mm256_add_ps(high, _mm256_and_ps(_mm256_loadu_ps(values + i + 8), magnitude));
  }
  float lanes[kLanes];
  _mm256_storeu_ps(lanes, low);
  _mm256_storeu_ps(lanes + 8, high);
  return FinishSum(lanes, values, size);
}

__attribute__((target("avx2"))) void SignsAvx2(const float* values, size_t size, float scale, char* bits,
                                               float* residual) {
  const __m256 sign = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(kSign)));
  const __m256 scales = _mm256_set1_ps(scale);
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m256 x = _mm256_loadu_ps(values + i);
    bits[i / 8] = static_cast<char>(_mm256_movemask_ps(x));
    if (residual == nullptr) continue;
    const __m256 decoded = _mm256_xor_ps(scales, _mm256_and_ps(x, sign));
    _mm256_storeu_ps(residual + i, _mm256_sub_ps(x, decoded));
  }
  SignsPortable(values + i, size - i, scale, bits + i / 8, residual == nullptr ? nullptr : residual + i);
}

__attribute__((target("avx2"))) void ExpandAvx2(const char* bits, size_t size, float scale, float* out) {
  const __m256i to_sign = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
  const __m256i sign = _mm256_set1_epi32(static_cast<int>(kSign));
  const __m256i scales = _mm256_castps_si256(_mm256_set1_ps(scale));
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m256i byte = _mm256_set1_epi32(static_cast<unsigned char>(bits[i / 8]));
    const __m256i signs = _mm256_and_si256(_mm256_sllv_epi32(byte, to_sign), sign);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_xor_si256(scales, signs));
  }
  ExpandPortable(bits + i / 8, size - i, scale, out + i);
}

const Kernels& Best() {
  static const Kernels& best = onebit_internal::KernelsFor(DetectIsa());
  return best;
}

size_t BytesOfSigns(size_t elements) { return (elements + 7) / 8; }

// A block whose values are decoded as NaNs.
void WriteNanBlock(size_t size, char* out, float* residual) {
  std::memcpy(out, &kNan, sizeof(kNan));
  std::memset(out + sizeof(kNan), 0, BytesOfSigns(size));
  if (residual != nullptr) std::fill_n(residual, size, 0.0f);
}

void EncodeBlock(const float* values, size_t size, char* out, float* residual) {
  const float scale = Best().sum_of_magnitudes(values, size) / static_cast<float>(size);
  if (!std::isfinite(scale)) return WriteNanBlock(size, out, residual);
  std::memcpy(out, &scale, sizeof(scale));
  Best().signs(values, size, scale, out + sizeof(scale), residual);
}

}  // namespace

const Kernels& onebit_internal::KernelsFor(Isa isa) {
  static constexpr Kernels kPortable = {SumOfMagnitudesPortable, SignsPortable, ExpandPortable};
  static constexpr Kernels kAvx2 = {SumOfMagnitudesAvx2, SignsAvx2, ExpandAvx2};
  return isa == Isa::kPortable ? kPortable : kAvx2;
}

size_t OnebitEncodedBytes(size_t elements) {
  const size_t whole = elements / kOnebitBlockElements, rest = elements % kOnebitBlockElements;
  return whole * (sizeof(float) + BytesOfSigns(kOnebitBlockElements)) +
         (rest == 0 ? 0 : sizeof(float) + BytesOfSigns(rest));
}

void EncodeOnebit(absl::Span<const float> values, absl::Span<float> residual, char* out) {
  for (size_t at = 0; at < values.size(); at += kOnebitBlockElements) {
    const absl::Span<const float> block = values.subspan(at, kOnebitBlockElements);
    if (residual.empty()) {
      EncodeBlock(block.data(), block.size(), out, nullptr);
    } else {
      const absl::Span<float> sum = residual.subspan(at, block.size());
      AddInto(sum, block);
      EncodeBlock(sum.data(), sum.size(), out, sum.data());
    }
    out += sizeof(float) + BytesOfSigns(block.size());
  }
}

void DecodeOnebit(const char* bytes, absl::Span<float> out) {
  for (size_t at = 0; at < out.size(); at += kOnebitBlockElements) {
    const absl::Span<float> block = out.subspan(at, kOnebitBlockElements);
    float scale;
    std::memcpy(&scale, bytes, sizeof(scale));
    Best().expand(bytes + sizeof(scale), block.size(), scale, block.data());
    bytes += sizeof(scale) + BytesOfSigns(block.size());
  }
}

}  // namespace paramd
