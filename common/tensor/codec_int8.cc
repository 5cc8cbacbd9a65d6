#include "common/tensor/codec_int8.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/tensor/reduce.h"

namespace paramd {
namespace {

using int8_internal::Kernels;

constexpr uint32_t kMagnitude = 0x7fffffff;
constexpr uint32_t kTooLarge = 0x7f000000;  // 2^127: from here on q * scale could overflow.
constexpr uint32_t kNan = 0x7fc00000;
constexpr float kSmallestScale = 0x1p-126f;  // The smallest whose inverse is finite for sure.

// -- portable; also the ends of the others --

uint32_t LargestBitsPortable(const float* values, size_t size) {
  uint32_t largest = 0;
  for (size_t i = 0; i < size; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & kMagnitude);
  return largest;
}

void QuantizePortable(const float* values, size_t size, float scale, float inverse, char* q, float* residual) {
  for (size_t i = 0; i < size; ++i) {
    const float rounded = std::nearbyint(values[i] * inverse);
    q[i] = static_cast<char>(static_cast<int8_t>(rounded));
    if (residual != nullptr) residual[i] = values[i] - rounded * scale;
  }
}

void DequantizePortable(const char* q, size_t size, float scale, float* out) {
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<float>(static_cast<int8_t>(q[i])) * scale;
}

// -- AVX2 --

__attribute__((target("avx2"))) uint32_t LargestBitsAvx2(const float* values, size_t size) {
  const __m256i magnitude = _mm256_set1_epi32(kMagnitude);
  __m256i largest = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, magnitude));
  }
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), largest);
  return std::max(*std::max_element(lanes, lanes + 8), LargestBitsPortable(values + i, size - i));
}

// q of 8 values as 32-bit integers; leaves the residual.
__attribute__((target("avx2"))) inline __m256i Quantize8(const float* values, __m256 scale, __m256 inverse,
                                                         float* residual) {
  const __m256 x = _mm256_loadu_ps(values);
  const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
  if (residual != nullptr) {
    _mm256_storeu_ps(residual, _mm256_sub_ps(x, _mm256_mul_ps(_mm256_cvtepi32_ps(q), scale)));
  }
  return q;
}

__attribute__((target("avx2"))) void QuantizeAvx2(const float* values, size_t size, float scale, float inverse, char* q,
                                                  float* residual) {
  const __m256 scales = _mm256_set1_ps(scale), inverses = _mm256_set1_ps(inverse);
  // Packing works within 128-bit halves; this puts groups of 4 bytes in order again.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  size_t i = 0;
  for (; i + 32 <= size; i += 32) {
    __m256i part[4];
    for (size_t j = 0; j < 4; ++j) {
      float* const left = residual == nullptr ? nullptr : residual + i + 8 * j;
      part[j] = Quantize8(values + i + 8 * j, scales, inverses, left);
    }
    const __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(part[0], part[1]), _mm256_packs_epi32(part[2], part[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), _mm256_permutevar8x32_epi32(packed, order));
  }
  QuantizePortable(values + i, size - i, scale, inverse, q + i, residual == nullptr ? nullptr : residual + i);
}

__attribute__((target("avx2"))) void DequantizeAvx2(const char* q, size_t size, float scale, float* out) {
  const __m256 scales = _mm256_set1_ps(scale);
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + i));
    _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scales));
  }
  DequantizePortable(q + i, size - i, scale, out + i);
}

const Kernels& Best() {
  static const Kernels& best = int8_internal::KernelsFor(DetectIsa());
  return best;
}

// A block whose values are decoded as NaNs.
void WriteNanBlock(size_t size, char* out, float* residual) {
  std::memcpy(out, &kNan, sizeof(kNan));
  std::memset(out + sizeof(kNan), 0, size);
  if (residual != nullptr) std::fill_n(residual, size, 0.0f);
}

void EncodeBlock(const float* values, size_t size, char* out, float* residual) {
  const uint32_t largest = Best().largest_bits(values, size);
  if (largest >= kTooLarge) return WriteNanBlock(size, out, residual);
  float scale = std::bit_cast<float>(largest) / 127.0f;
  if (scale < kSmallestScale) scale = 0;
  const float inverse = scale == 0 ? 0 : 1.0f / scale;
  std::memcpy(out, &scale, sizeof(scale));
  Best().quantize(values, size, scale, inverse, out + sizeof(scale), residual);
}

}  // namespace

const Kernels& int8_internal::KernelsFor(Isa isa) {
  static constexpr Kernels kPortable = {LargestBitsPortable, QuantizePortable, DequantizePortable};
  static constexpr Kernels kAvx2 = {LargestBitsAvx2, QuantizeAvx2, DequantizeAvx2};
  return isa == Isa::kPortable ? kPortable : kAvx2;
}

size_t Int8EncodedBytes(size_t elements) {
  return elements + (elements + kInt8BlockElements - 1) / kInt8BlockElements * sizeof(float);
}

void EncodeInt8(absl::Span<const float> values, absl::Span<float> residual, char* out) {
  for (size_t at = 0; at < values.size(); at += kInt8BlockElements) {
    const absl::Span<const float> block = values.subspan(at, kInt8BlockElements);
    if (residual.empty()) {
      EncodeBlock(block.data(), block.size(), out, nullptr);
    } else {
      const absl::Span<float> sum = residual.subspan(at, block.size());
      AddInto(sum, block);
      EncodeBlock(sum.data(), sum.size(), out, sum.data());
    }
    out += sizeof(float) + block.size();
  }
}

void DecodeInt8(const char* bytes, absl::Span<float> out) {
  for (size_t at = 0; at < out.size(); at += kInt8BlockElements) {
    const absl::Span<float> block = out.subspan(at, kInt8BlockElements);
    float scale;
    std::memcpy(&scale, bytes, sizeof(scale));
    Best().dequantize(bytes + sizeof(scale), block.size(), scale, block.data());
    bytes += sizeof(scale) + block.size();
  }
}

}  // namespace paramd
