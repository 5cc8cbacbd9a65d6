#include "common/tensor/reduce.h"

#include <immintrin.h>

#include <cassert>
#include <cstring>

namespace paramd {
namespace {

using reduce_internal::Kernels;

constexpr size_t kLanes = 16;

// -- portable; also the ends of the others --

void AddPortable(float* dst, const char* src, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, src + i * sizeof(float), sizeof(float));
    dst[i] += value;
  }
}

void ScalePortable(float* values, float factor, size_t size) {
  for (size_t i = 0; i < size; ++i) values[i] *= factor;
}

// Adds the last size % kLanes elements to their lanes and folds the lanes.
double FinishNorm(double* lanes, const float* values, size_t size) {
  const size_t whole = size / kLanes * kLanes;
  for (size_t i = whole; i < size; ++i) lanes[i - whole] += static_cast<double>(values[i]) * values[i];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

double SquaredNormPortable(const float* values, size_t size) {
  double lanes[kLanes] = {};
  for (size_t i = 0; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += static_cast<double>(values[i + j]) * values[i + j];
  }
  return FinishNorm(lanes, values, size);
}

// -- AVX2: 8 floats or 4 doubles a register --

__attribute__((target("avx2"))) void AddAvx2(float* dst, const char* src, size_t size) {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m256 value = _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i * 4)));
    _mm256_storeu_ps(dst + i, _mm256_add_ps(_mm256_loadu_ps(dst + i), value));
  }
  AddPortable(dst + i, src + i * 4, size - i);
}

__attribute__((target("avx2"))) void ScaleAvx2(float* values, float factor, size_t size) {
  const __m256 factors = _mm256_set1_ps(factor);
  size_t i = 0;
  for (; i + 8 <= size; i += 8) _mm256_storeu_ps(values + i, _mm256_mul_ps(_mm256_loadu_ps(values + i), factors));
  ScalePortable(values + i, factor, size - i);
}

__attribute__((target("avx2"))) double SquaredNormAvx2(const float* values, size_t size) {
  __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
  for (size_t i = 0; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < 4; ++j) {
      const __m256d x = _mm256_cvtps_pd(_mm_loadu_ps(values + i + 4 * j));
      sums[j] = _mm256_add_pd(sums[j], _mm256_mul_pd(x, x));
    }
  }
  double lanes[kLanes];
  for (size_t j = 0; j < 4; ++j) _mm256_storeu_pd(lanes + 4 * j, sums[j]);
  return FinishNorm(lanes, values, size);
}

// -- AVX-512: 16 floats or 8 doubles a register --

__attribute__((target("avx512f"))) void AddAvx512(float* dst, const char* src, size_t size) {
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m512 value = _mm512_castsi512_ps(_mm512_loadu_si512(src + i * 4));
    _mm512_storeu_ps(dst + i, _mm512_add_ps(_mm512_loadu_ps(dst + i), value));
  }
  AddPortable(dst + i, src + i * 4, size - i);
}

__attribute__((target("avx512f"))) void ScaleAvx512(float* values, float factor, size_t size) {
  const __m512 factors = _mm512_set1_ps(factor);
  size_t i = 0;
  for (; i + 16 <= size; i += 16) _mm512_storeu_ps(values + i, _mm512_mul_ps(_mm512_loadu_ps(values + i), factors));
  ScalePortable(values + i, factor, size - i);
}

__attribute__((target("avx512f"))) double SquaredNormAvx512(const float* values, size_t size) {
  __m512d sums[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  for (size_t i = 0; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < 2; ++j) {
      // The form with a mask: the plain one draws a false warning from GCC 12.
      const __m512d x = _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(values + i + 8 * j));
      sums[j] = _mm512_add_pd(sums[j], _mm512_mul_pd(x, x));
    }
  }
  double lanes[kLanes];
  for (size_t j = 0; j < 2; ++j) _mm512_storeu_pd(lanes + 8 * j, sums[j]);
  return FinishNorm(lanes, values, size);
}

const Kernels& Best() {
  static const Kernels& best = reduce_internal::KernelsFor(DetectIsa());
  return best;
}

}  // namespace

const Kernels& reduce_internal::KernelsFor(Isa isa) {
  static constexpr Kernels kPortable = {AddPortable, ScalePortable, SquaredNormPortable};
  static constexpr Kernels kAvx2 = {AddAvx2, ScaleAvx2, SquaredNormAvx2};
  static constexpr Kernels kAvx512 = {AddAvx512, ScaleAvx512, SquaredNormAvx512};
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

void AddInto(absl::Span<float> dst, absl::Span<const float> src) {
  assert(dst.size() == src.size());
  Best().add(dst.data(), reinterpret_cast<const char*>(src.data()), dst.size());
}

void AddBytesInto(absl::Span<float> dst, absl::string_view bytes) {
  assert(bytes.size() == dst.size() * sizeof(float));
  Best().add(dst.data(), bytes.data(), dst.size());
}

void Scale(absl::Span<float> values, float factor) { Best().scale(values.data(), factor, values.size()); }

double SquaredNorm(absl::Span<const float> values) { return Best().squared_norm(values.data(), values.size()); }

}  // namespace paramd
