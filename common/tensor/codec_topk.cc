#include "common/tensor/codec_topk.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/tensor/dtype.h"
#include "common/tensor/reduce.h"

namespace paramd {
namespace {

using topk_internal::Kernels;

constexpr uint32_t kMagnitude = 0x7fffffff;
constexpr uint32_t kInfinity = 0x7f800000;
constexpr size_t kSampleElements = 4096;
constexpr size_t kSampleStride = 16;  // Smaller runs are not sampled more densely than this.

uint32_t MagnitudeBits(float value) { return std::bit_cast<uint32_t>(value) & kMagnitude; }

// -- which values are sent --

size_t CollectPortable(const float* values, size_t size, uint32_t threshold, uint32_t* places) {
  size_t count = 0;
  for (size_t i = 0; i < size; ++i) {
    places[count] = static_cast<uint32_t>(i);
    count += MagnitudeBits(values[i]) >= threshold ? 1 : 0;
  }
  return count;
}

__attribute__((target("avx2"))) size_t CollectAvx2(const float* values, size_t size, uint32_t threshold,
                                                   uint32_t* places) {
  const __m256i magnitude = _mm256_set1_epi32(kMagnitude);
  const __m256i below = _mm256_set1_epi32(static_cast<int>(threshold - 1));
  size_t count = 0, i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m256i bits = _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i)), magnitude);
    unsigned hits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(bits, below))));
    for (; hits != 0; hits &= hits - 1) places[count++] = static_cast<uint32_t>(i) + std::countr_zero(hits);
  }
  for (; i < size; ++i) {
    if (MagnitudeBits(values[i]) >= threshold) places[count++] = static_cast<uint32_t>(i);
  }
  return count;
}

const Kernels& Best() {
  static const Kernels& best = topk_internal::KernelsFor(DetectIsa());
  return best;
}

// A threshold that a little more than `count` values probably reach, from a sample with one place out of each stretch
// of equal length.
uint32_t GuessThreshold(absl::Span<const float> values, size_t count) {
  const size_t sample_size = std::min(kSampleElements, values.size() / kSampleStride);
  const double expected = static_cast<double>(count) * sample_size / values.size();
  const size_t rank = static_cast<size_t>(expected + 4 * std::sqrt(expected) + 8);
  if (rank >= sample_size) return 1;
  const size_t stride = values.size() / sample_size;
  std::vector<uint32_t> sample(sample_size);
  for (size_t i = 0; i < sample_size; ++i) {
    sample[i] = MagnitudeBits(values[topk_internal::SampledPlace(i, stride)]);
  }
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<>());
  return std::max<uint32_t>(1, sample[rank]);
}

// Orders values by what is sent first: magnitude, all NaNs alike, then the lower place.
uint64_t Rank(float value, uint32_t place) {
  return uint64_t{std::min(MagnitudeBits(value), kInfinity + 1)} << 32 | ~place;
}

// The places of the `count` first-ranking values but zeros, ascending, at the front of `places`; how many there are.
size_t Select(absl::Span<const float> values, size_t count, uint32_t* places) {
  uint32_t threshold = GuessThreshold(values, count);
  size_t found = Best().collect(values.data(), values.size(), threshold, places);
  while (found < count && threshold > 1) {  // The sample was not like the rest: a quarter of the magnitude, and again.
    threshold = threshold > 0x01000000 ? threshold - 0x01000000 : 1;
    found = Best().collect(values.data(), values.size(), threshold, places);
  }
  if (found <= count) return found;
  std::vector<uint64_t> ranks(found);
  for (size_t i = 0; i < found; ++i) ranks[i] = Rank(values[places[i]], places[i]);
  std::nth_element(ranks.begin(), ranks.begin() + (count - 1), ranks.end(), std::greater<>());
  const uint64_t last = ranks[count - 1];
  return std::remove_if(places, places + found, [&](uint32_t place) { return Rank(values[place], place) < last; }) -
         places;
}

// -- bytes --

template <typename T>
char* Put(T value, char* out) {
  std::memcpy(out, &value, sizeof(value));
  return out + sizeof(value);
}

uint16_t Narrow(float value) { return std::isnan(value) ? 0x7fc0 : FloatToBFloat16(value); }

// Writes the blocks. The places are ascending and relative to the run.
void WriteBlocks(absl::Span<const float> values, absl::Span<const uint32_t> places, char* out) {
  auto next = places.begin();
  for (size_t begin = 0; begin < values.size(); begin += kTopkBlockElements) {
    const auto end = std::lower_bound(next, places.end(), begin + kTopkBlockElements);
    out = Put(static_cast<uint32_t>(end - next), out);
    for (auto place = next; place != end; ++place) out = Put(static_cast<uint16_t>(*place - begin), out);
    for (auto place = next; place != end; ++place) out = Put(Narrow(values[*place]), out);
    next = end;
  }
}

float FiniteOrZero(float value) { return std::isfinite(value) ? value : 0; }

absl::Status Malformed(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD", absl::StrCat("topk: ", message));
}

absl::Status DecodeBlock(absl::string_view& bytes, absl::Span<float> out) {
  uint32_t count;
  if (bytes.size() < sizeof(count)) return Malformed("the bytes end before a block's count");
  std::memcpy(&count, bytes.data(), sizeof(count));
  bytes.remove_prefix(sizeof(count));
  if (count > out.size()) return Malformed(absl::StrCat(count, " values in a block of ", out.size()));
  if (bytes.size() < 4 * size_t{count}) {
    return Malformed(absl::StrCat(count, " values in the ", bytes.size(), " bytes that are left"));
  }
  const char* const places = bytes.data();
  const char* const values = places + 2 * size_t{count};
  int32_t previous = -1;
  for (size_t i = 0; i < count; ++i) {
    uint16_t place, bits;
    std::memcpy(&place, places + 2 * i, sizeof(place));
    std::memcpy(&bits, values + 2 * i, sizeof(bits));
    if (place <= previous) return Malformed(absl::StrCat("place ", place, " after ", previous));
    if (place >= out.size()) return Malformed(absl::StrCat("place ", place, " in a block of ", out.size()));
    out[place] = BFloat16ToFloat(bits);
    previous = place;
  }
  bytes.remove_prefix(4 * size_t{count});
  return absl::OkStatus();
}

}  // namespace

const Kernels& topk_internal::KernelsFor(Isa isa) {
  static constexpr Kernels kPortable = {CollectPortable};
  static constexpr Kernels kAvx2 = {CollectAvx2};
  return isa == Isa::kPortable ? kPortable : kAvx2;
}

size_t TopkCount(size_t elements, double ratio) {
  if (elements == 0) return 0;
  const double count = std::ceil(ratio * static_cast<double>(elements));
  return std::clamp<size_t>(static_cast<size_t>(count), 1, elements);
}

size_t TopkEncodedBytes(size_t elements, size_t count) {
  return (elements + kTopkBlockElements - 1) / kTopkBlockElements * sizeof(uint32_t) + 4 * count;
}

size_t EncodeTopk(absl::Span<const float> values, size_t count, absl::Span<float> residual, char* out) {
  if (!residual.empty()) {
    AddInto(residual, values);
    values = residual;
  }
  const auto places = std::make_unique_for_overwrite<uint32_t[]>(values.size());
  const size_t sent = count == 0 ? 0 : Select(values, count, places.get());
  const size_t bytes = TopkEncodedBytes(values.size(), sent);
  WriteBlocks(values, absl::MakeConstSpan(places.get(), sent), out);
  if (residual.empty()) return bytes;
  bool finite = true;
  for (size_t i = 0; i < sent; ++i) {
    float& value = residual[places[i]];
    finite = finite && std::isfinite(value);
    value = FiniteOrZero(value - BFloat16ToFloat(FloatToBFloat16(value)));
  }
  // Only when all that was sent is not finite can more of it be left.
  if (!finite) std::transform(residual.begin(), residual.end(), residual.begin(), FiniteOrZero);
  return bytes;
}

absl::Status DecodeTopk(absl::string_view& bytes, absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  for (size_t begin = 0; begin < out.size(); begin += kTopkBlockElements) {
    if (absl::Status status = DecodeBlock(bytes, out.subspan(begin, kTopkBlockElements)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace paramd
