#include "common/tensor/codec_half.h"

#include <immintrin.h>

#include <cassert>
#include <cstring>

#include "common/tensor/dtype.h"

namespace paramd {
namespace {

using half_internal::Kernels;

// -- portable; also the ends of the others --

template <uint16_t (*convert)(float)>
void EncodePortable(const float* values, size_t size, char* out) {
  for (size_t i = 0; i < size; ++i) {
    const uint16_t bits = convert(values[i]);
    std::memcpy(out + 2 * i, &bits, sizeof(bits));
  }
}

template <float (*convert)(uint16_t)>
void DecodePortable(const char* bytes, size_t size, float* out) {
  for (size_t i = 0; i < size; ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * i, sizeof(bits));
    out[i] = convert(bits);
  }
}

constexpr auto EncodeBf16Portable = EncodePortable<FloatToBFloat16>;
constexpr auto EncodeFp16Portable = EncodePortable<FloatToFloat16>;
constexpr auto DecodeBf16Portable = DecodePortable<BFloat16ToFloat>;
constexpr auto DecodeFp16Portable = DecodePortable<Float16ToFloat>;

// -- AVX2 with F16C: 8 values a register --

// FloatToBFloat16 on the lanes; the results are the lanes' lower halves.
__attribute__((target("avx2"))) inline __m256i NarrowBf16Avx2(const float* values) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
  const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  return _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), is_nan);
}

__attribute__((target("avx2"))) void EncodeBf16Avx2(const float* values, size_t size, char* out) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256i packed = _mm256_packus_epi32(NarrowBf16Avx2(values + i), NarrowBf16Avx2(values + i + 8));
    // Packing interleaves the 128-bit halves: put the quarters 0 2 1 3 in order.
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), _mm256_permute4x64_epi64(packed, 0xd8));
  }
  EncodeBf16Portable(values + i, size - i, out + 2 * i);
}

__attribute__((target("avx2,f16c"))) void EncodeFp16Avx2(const float* values, size_t size, char* out) {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * i), bits);
  }
  EncodeFp16Portable(values + i, size - i, out + 2 * i);
}

__attribute__((target("avx2"))) void DecodeBf16Avx2(const char* bytes, size_t size, float* out) {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 2 * i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  DecodeBf16Portable(bytes + 2 * i, size - i, out + i);
}

__attribute__((target("avx2,f16c"))) void DecodeFp16Avx2(const char* bytes, size_t size, float* out) {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 2 * i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(bits));
  }
  DecodeFp16Portable(bytes + 2 * i, size - i, out + i);
}

// -- AVX-512: 16 values a register. The forms with a mask: the plain ones draw false warnings from GCC 12. --

constexpr __mmask16 kAll = 0xffff;

__attribute__((target("avx512f"))) void EncodeBf16Avx512(const float* values, size_t size, char* out) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m512i bits = _mm512_loadu_si512(values + i);
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 is_nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
    const __m512i high = _mm512_maskz_srli_epi32(kAll, bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __m512i rounded = _mm512_maskz_srli_epi32(kAll, sum, 16);
    const __m512i result = _mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), _mm512_maskz_cvtepi32_epi16(kAll, result));
  }
  EncodeBf16Portable(values + i, size - i, out + 2 * i);
}

__attribute__((target("avx512f"))) void EncodeFp16Avx512(const float* values, size_t size, char* out) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256i bits = _mm512_maskz_cvtps_ph(kAll, _mm512_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), bits);
  }
  EncodeFp16Portable(values + i, size - i, out + 2 * i);
}

__attribute__((target("avx512f"))) void DecodeBf16Avx512(const char* bytes, size_t size, float* out) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 2 * i));
    const __m512i wide = _mm512_maskz_cvtepu16_epi32(kAll, bits);
    _mm512_storeu_si512(out + i, _mm512_maskz_slli_epi32(kAll, wide, 16));
  }
  DecodeBf16Portable(bytes + 2 * i, size - i, out + i);
}

__attribute__((target("avx512f"))) void DecodeFp16Avx512(const char* bytes, size_t size, float* out) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 2 * i));
    _mm512_storeu_ps(out + i, _mm512_maskz_cvtph_ps(kAll, bits));
  }
  DecodeFp16Portable(bytes + 2 * i, size - i, out + i);
}

const Kernels& Best() {
  static const Kernels& best = half_internal::KernelsFor(half_internal::BestIsa());
  return best;
}

}  // namespace

namespace half_internal {

const Kernels& KernelsFor(Isa isa) {
  static constexpr Kernels kPortable = {EncodeBf16Portable, EncodeFp16Portable, DecodeBf16Portable, DecodeFp16Portable};
  static constexpr Kernels kAvx2 = {EncodeBf16Avx2, EncodeFp16Avx2, DecodeBf16Avx2, DecodeFp16Avx2};
  static constexpr Kernels kAvx512 = {EncodeBf16Avx512, EncodeFp16Avx512, DecodeBf16Avx512, DecodeFp16Avx512};
  switch (isa) {
    case Isa::kAvx512:
      return kAvx512;
    case Isa::kAvx2:
      return kAvx2;
    case Isa::kPortable:
      break;
  }
  return kPortable;
}

Isa BestIsa() { return __builtin_cpu_supports("f16c") ? DetectIsa() : Isa::kPortable; }

}  // namespace half_internal

void EncodeBf16(absl::Span<const float> values, absl::Span<uint16_t> out) {
  assert(values.size() == out.size());
  Best().encode_bf16(values.data(), values.size(), reinterpret_cast<char*>(out.data()));
}

void EncodeFp16(absl::Span<const float> values, absl::Span<uint16_t> out) {
  assert(values.size() == out.size());
  Best().encode_fp16(values.data(), values.size(), reinterpret_cast<char*>(out.data()));
}

void DecodeBf16(const char* bytes, absl::Span<float> out) { Best().decode_bf16(bytes, out.size(), out.data()); }

void DecodeFp16(const char* bytes, absl::Span<float> out) { Best().decode_fp16(bytes, out.size(), out.data()); }

}  // namespace paramd
