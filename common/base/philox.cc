#include "common/base/philox.h"

#include <cmath>

namespace paramd {
namespace {

// Natural logarithm of 0 < x <= 1, to about 1e-15: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), and
// log(m) = 2 * (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172.
double Log(double x) {
  constexpr double kLn2 = 0.69314718055994530942;
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);  // Exact, in [0.5, 1).
  if (mantissa < 0.70710678118654752440) {
    mantissa *= 2;
    --exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1);
  const double s2 = s * s;
  double sum = 1.0 / 23;
  for (int power = 21; power >= 1; power -= 2) sum = sum * s2 + 1.0 / power;
  return exponent * kLn2 + 2 * s * sum;
}

// Sine and cosine of 2 * pi * turn for turn in [0, 1), to about 1e-15: quarter turns exactly, the rest, at most pi/4
// either way, by Taylor series.
void SinCosOfTurn(double turn, double& sine, double& cosine) {
  constexpr double kPi = 3.14159265358979323846;
  const int quarter = static_cast<int>(turn * 4 + 0.5);
  const double x = (turn - quarter * 0.25) * (2 * kPi);
  const double x2 = x * x;
  double s = 1;
  for (int n = 16; n >= 2; n -= 2) s = 1 - s * x2 / (n * (n + 1));
  s *= x;
  double c = 1;
  for (int n = 17; n >= 1; n -= 2) c = 1 - c * x2 / (n * (n + 1));
  switch (quarter & 3) {
    case 0:
      sine = s, cosine = c;
      break;
    case 1:
      sine = c, cosine = -s;
      break;
    case 2:
      sine = -s, cosine = -c;
      break;
    default:
      sine = -c, cosine = s;
      break;
  }
}

}  // namespace

std::array<float, 2> NormalPair(uint32_t bits0, uint32_t bits1) {
  const double radius = std::sqrt(-2 * Log((bits0 + 1.0) * 0x1p-32));  // Of a uniform in (0, 1].
  double sine, cosine;
  SinCosOfTurn(bits1 * 0x1p-32, sine, cosine);
  return {static_cast<float>(radius * cosine), static_cast<float>(radius * sine)};
}

std::array<float, 4> NormalBlock(const std::array<uint32_t, 4>& block) {
  const auto [a, b] = NormalPair(block[0], block[1]);
  const auto [c, d] = NormalPair(block[2], block[3]);
  return {a, b, c, d};
}

uint32_t Philox::Next32() {
  if (used_ == 4) {
    block_ = PhiloxBlock(seed_, counter_);
    ++counter_.index;
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t Philox::Next64() {
  const uint64_t low = Next32();
  return low | uint64_t{Next32()} << 32;
}

float Philox::Normal() {
  const uint32_t bits0 = Next32();
  return NormalPair(bits0, Next32())[0];
}

// Lemire: "Fast random integer generation in an interval" (2019), 64-bit version.
uint64_t Philox::Below(uint64_t bound) {
  if (bound == 0) return 0;
  unsigned __int128 product = static_cast<unsigned __int128>(Next64()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = -bound % bound;
    while (static_cast<uint64_t>(product) < threshold) product = static_cast<unsigned __int128>(Next64()) * bound;
  }
  return static_cast<uint64_t>(product >> 64);
}

}  // namespace paramd
