#include "common/tensor/reduce.h"

#include <immintrin.h>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace paramd {
namespace {

using reduce_internal::Kernels;

constexpr size_t kLanes = SquaredNormSum::kLanes;

float FloatAt(const char* bytes, size_t i) {
  float value;
  std::memcpy(&value, bytes + i * sizeof(float), sizeof(float));
  return value;
}

// -- portable; also the ends of the others --

void SumPortable(const char* bytes, const float* addend, float* dst, size_t size) {
  for (size_t i = 0; i < size; ++i) dst[i] = FloatAt(bytes, i) + addend[i];
}

void ScalePortable(float* values, float factor, size_t size) {
  for (size_t i = 0; i < size; ++i) values[i] *= factor;
}

void SquaresPortable(const char* bytes, float average, double* lanes, size_t size) {
  for (size_t i = 0; i < size; i += kLanes) {
    for (size_t j = 0; j < std::min(kLanes, size - i); ++j) {
      const double value = FloatAt(bytes, i + j) * average;
      lanes[j] += value * value;
    }
  }
}

void SumSquaresPortable(const char* bytes, const float* addend, float* dst, float average, double* lanes, size_t size) {
  SumPortable(bytes, addend, dst, size);
  SquaresPortable(reinterpret_cast<const char*>(dst), average, lanes, size);
}

// -- AVX2: 8 floats or 4 doubles a register --

#define PARAMD_AVX2 __attribute__((target("avx2")))
#define PARAMD_AVX2_INLINE __attribute__((target("avx2"), always_inline)) inline

PARAMD_AVX2_INLINE __m256 Load8(const char* bytes) {
  return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
}

// The squares of 16 averaged floats, added to the lanes.
PARAMD_AVX2_INLINE void AddSquares16(__m256 low, __m256 high, __m256 average, __m256d* lanes) {
  const __m256 averaged[2] = {_mm256_mul_ps(low, average), _mm256_mul_ps(high, average)};
  for (int half = 0; half < 2; ++half) {
    const __m256d first = _mm256_cvtps_pd(_mm256_castps256_ps128(averaged[half]));
    const __m256d second = _mm256_cvtps_pd(_mm256_extractf128_ps(averaged[half], 1));
    lanes[2 * half] = _mm256_add_pd(lanes[2 * half], _mm256_mul_pd(first, first));
    lanes[2 * half + 1] = _mm256_add_pd(lanes[2 * half + 1], _mm256_mul_pd(second, second));
  }
}

PARAMD_AVX2_INLINE void LoadLanes(const double* lanes, __m256d* registers) {
  for (int i = 0; i < 4; ++i) registers[i] = _mm256_loadu_pd(lanes + 4 * i);
}

PARAMD_AVX2_INLINE void StoreLanes(const __m256d* registers, double* lanes) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_pd(lanes + 4 * i, registers[i]);
}

PARAMD_AVX2 void SumAvx2(const char* bytes, const float* addend, float* dst, size_t size) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256 low = _mm256_add_ps(Load8(bytes + i * 4), _mm256_loadu_ps(addend + i));
    const __m256 high = _mm256_add_ps(Load8(bytes + i * 4 + 32), _mm256_loadu_ps(addend + i + 8));
    _mm256_storeu_ps(dst + i, low);
    _mm256_storeu_ps(dst + i + 8, high);
  }
  SumPortable(bytes + i * 4, addend + i, dst + i, size - i);
}

PARAMD_AVX2 void SumSquaresAvx2(const char* bytes, const float* addend, float* dst, float average, double* lanes,
                                size_t size) {
  const __m256 averages = _mm256_set1_ps(average);
  __m256d sums[4];
  LoadLanes(lanes, sums);
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256 low = _mm256_add_ps(Load8(bytes + i * 4), _mm256_loadu_ps(addend + i));
    const __m256 high = _mm256_add_ps(Load8(bytes + i * 4 + 32), _mm256_loadu_ps(addend + i + 8));
    _mm256_storeu_ps(dst + i, low);
    _mm256_storeu_ps(dst + i + 8, high);
    AddSquares16(low, high, averages, sums);
  }
  StoreLanes(sums, lanes);
  SumSquaresPortable(bytes + i * 4, addend + i, dst + i, average, lanes, size - i);
}

PARAMD_AVX2 void ScaleAvx2(float* values, float factor, size_t size) {
  const __m256 factors = _mm256_set1_ps(factor);
  size_t i = 0;
  for (; i + 8 <= size; i += 8) _mm256_storeu_ps(values + i, _mm256_mul_ps(_mm256_loadu_ps(values + i), factors));
  ScalePortable(values + i, factor, size - i);
}

PARAMD_AVX2 void SquaresAvx2(const char* bytes, float average, double* lanes, size_t size) {
  const __m256 averages = _mm256_set1_ps(average);
  __m256d sums[4];
  LoadLanes(lanes, sums);
  size_t i = 0;
  for (; i + 16 <= size; i += 16) AddSquares16(Load8(bytes + i * 4), Load8(bytes + i * 4 + 32), averages, sums);
  StoreLanes(sums, lanes);
  SquaresPortable(bytes + i * 4, average, lanes, size - i);
}

// -- AVX-512: 16 floats or 8 doubles a register --

#define PARAMD_AVX512 __attribute__((target("avx512f,avx512dq")))
#define PARAMD_AVX512_INLINE __attribute__((target("avx512f,avx512dq"), always_inline)) inline

PARAMD_AVX512_INLINE __m512 Load16(const char* bytes) { return _mm512_castsi512_ps(_mm512_loadu_si512(bytes)); }

PARAMD_AVX512_INLINE void AddSquares16(__m512 values, __m512 average, __m512d* lanes) {
  const __m512 averaged = _mm512_mul_ps(values, average);
  // The forms with a mask: the plain ones draw false warnings from GCC 12.
  const __m512d low = _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, averaged, 0));
  const __m512d high = _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, averaged, 1));
  lanes[0] = _mm512_add_pd(lanes[0], _mm512_mul_pd(low, low));
  lanes[1] = _mm512_add_pd(lanes[1], _mm512_mul_pd(high, high));
}

PARAMD_AVX512 void SumAvx512(const char* bytes, const float* addend, float* dst, size_t size) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    _mm512_storeu_ps(dst + i, _mm512_add_ps(Load16(bytes + i * 4), _mm512_loadu_ps(addend + i)));
  }
  SumPortable(bytes + i * 4, addend + i, dst + i, size - i);
}

PARAMD_AVX512 void SumSquaresAvx512(const char* bytes, const float* addend, float* dst, float average, double* lanes,
                                    size_t size) {
  const __m512 averages = _mm512_set1_ps(average);
  __m512d sums[2] = {_mm512_loadu_pd(lanes), _mm512_loadu_pd(lanes + 8)};
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m512 sum = _mm512_add_ps(Load16(bytes + i * 4), _mm512_loadu_ps(addend + i));
    _mm512_storeu_ps(dst + i, sum);
    AddSquares16(sum, averages, sums);
  }
  _mm512_storeu_pd(lanes, sums[0]);
  _mm512_storeu_pd(lanes + 8, sums[1]);
  SumSquaresPortable(bytes + i * 4, addend + i, dst + i, average, lanes, size - i);
}

PARAMD_AVX512 void ScaleAvx512(float* values, float factor, size_t size) {
  const __m512 factors = _mm512_set1_ps(factor);
  size_t i = 0;
  for (; i + 16 <= size; i += 16) _mm512_storeu_ps(values + i, _mm512_mul_ps(_mm512_loadu_ps(values + i), factors));
  ScalePortable(values + i, factor, size - i);
}

PARAMD_AVX512 void SquaresAvx512(const char* bytes, float average, double* lanes, size_t size) {
  const __m512 averages = _mm512_set1_ps(average);
  __m512d sums[2] = {_mm512_loadu_pd(lanes), _mm512_loadu_pd(lanes + 8)};
  size_t i = 0;
  for (; i + 16 <= size; i += 16) AddSquares16(Load16(bytes + i * 4), averages, sums);
  _mm512_storeu_pd(lanes, sums[0]);
  _mm512_storeu_pd(lanes + 8, sums[1]);
  SquaresPortable(bytes + i * 4, average, lanes, size - i);
}

const Kernels& Best() {
  static const Kernels& best = reduce_internal::KernelsFor(DetectIsa());
  return best;
}

}  // namespace

const Kernels& reduce_internal::KernelsFor(Isa isa) {
  static constexpr Kernels kPortable = {SumPortable, SumSquaresPortable, ScalePortable, SquaresPortable};
  static constexpr Kernels kAvx2 = {SumAvx2, SumSquaresAvx2, ScaleAvx2, SquaresAvx2};
  static constexpr Kernels kAvx512 = {SumAvx512, SumSquaresAvx512, ScaleAvx512, SquaresAvx512};
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

void SquaredNormSum::Add(absl::Span<const float> values) { AddBytes(AsBytes(values)); }

void SquaredNormSum::AddBytes(absl::string_view bytes) {
  Best().squares(bytes.data(), average_, lanes_, bytes.size() / sizeof(float));
}

double SquaredNormSum::Total() const {
  double lanes[kLanes];
  std::copy(lanes_, lanes_ + kLanes, lanes);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

void AddInto(absl::Span<float> dst, absl::Span<const float> src) { AddBytesInto(dst, AsBytes(src)); }

void AddBytesInto(absl::Span<float> dst, absl::string_view bytes) { SumBytes(bytes, dst, dst); }

void SumBytes(absl::string_view bytes, absl::Span<const float> addend, absl::Span<float> dst) {
  assert(bytes.size() == dst.size() * sizeof(float) && addend.size() == dst.size());
  Best().sum(bytes.data(), addend.data(), dst.data(), dst.size());
}

void SumBytes(absl::string_view bytes, absl::Span<const float> addend, absl::Span<float> dst, SquaredNormSum& norm) {
  assert(bytes.size() == dst.size() * sizeof(float) && addend.size() == dst.size());
  Best().sum_squares(bytes.data(), addend.data(), dst.data(), norm.average(), norm.lanes(), dst.size());
}

void Scale(absl::Span<float> values, float factor) { Best().scale(values.data(), factor, values.size()); }

double SquaredNorm(absl::Span<const float> values, float average) {
  SquaredNormSum norm(average);
  norm.Add(values);
  return norm.Total();
}

}  // namespace paramd
