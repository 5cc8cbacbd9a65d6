#include "server/store/sums.h"

#include <cstdint>
#include <cstring>

#include "server/store/vectorized.h"

namespace paramd {

namespace {

constexpr int64_t kLanes = 16;

PARAMD_VECTORIZED void AddBytes(const char* __restrict bytes, float* __restrict sum, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, bytes + i * sizeof(float), sizeof(float));
    sum[i] += value;
  }
}

PARAMD_VECTORIZED void SquareIntoLanes(const float* __restrict gradient, float average, double* __restrict lanes,
                                       int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = gradient[row * kLanes + lane] * average;
      lanes[lane] += value * value;
    }
  }
}

}  // namespace

void AddPayload(absl::string_view payload, absl::Span<float> sum) {
  AddBytes(payload.data(), sum.data(), static_cast<int64_t>(sum.size()));
}

void Add(absl::Span<const float> addend, absl::Span<float> sum) { AddPayload(AsPayload(addend), sum); }

double SquaredNorm(absl::Span<const float> gradient, float average) {
  double lanes[kLanes] = {};
  const int64_t rows = static_cast<int64_t>(gradient.size()) / kLanes;
  SquareIntoLanes(gradient.data(), average, lanes, rows);
  for (size_t i = rows * kLanes; i < gradient.size(); ++i) {
    const double value = gradient[i] * average;
    lanes[i - rows * kLanes] += value * value;
  }
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

}  // namespace paramd
