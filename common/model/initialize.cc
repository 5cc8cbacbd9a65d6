#include "common/model/initialize.h"

#include <algorithm>
#include <array>

#include "common/base/philox.h"

namespace paramd {
namespace {

// Four values from block `block` of the parameter's random numbers: elements 4 * block ... 4 * block + 3.
std::array<float, 4> RandomValues(const Initializer& initializer, uint64_t seed, int parameter, int64_t block) {
  const std::array<uint32_t, 4> bits = PhiloxBlock(seed, {.stream = RandomStream::kInitialWeights,
                                                          .a = static_cast<uint32_t>(parameter),
                                                          .b = static_cast<uint32_t>(block >> 32),
                                                          .index = static_cast<uint32_t>(block)});
  std::array<float, 4> values;
  if (initializer.kind == Initializer::Kind::kNormal) {
    values = NormalBlock(bits);
  } else {
    for (int i = 0; i < 4; ++i) values[i] = 2 * UniformFloat(bits[i]) - 1;
  }
  for (float& value : values) value *= initializer.scale;
  return values;
}

// `out` takes the elements of the parameter from `first` on.
void InitializePart(const Initializer& initializer, uint64_t seed, int parameter, int64_t first,
                    absl::Span<float> out) {
  switch (initializer.kind) {
    case Initializer::Kind::kZeros:
      std::fill(out.begin(), out.end(), 0.0f);
      return;
    case Initializer::Kind::kOnes:
      std::fill(out.begin(), out.end(), 1.0f);
      return;
    case Initializer::Kind::kNormal:
    case Initializer::Kind::kUniform:
      break;
  }
  size_t done = 0;
  while (done < out.size()) {
    const int64_t element = first + static_cast<int64_t>(done);
    const std::array<float, 4> values = RandomValues(initializer, seed, parameter, element / 4);
    for (int64_t i = element % 4; i < 4 && done < out.size(); ++i) out[done++] = values[i];
  }
}

// The first parameter that ends after `element`.
int FirstParameterAfter(const ArenaPlan& plan, int64_t element) {
  int low = 0, high = static_cast<int>(plan.parameters().size());
  while (low < high) {
    const int middle = (low + high) / 2;
    if (plan.ParameterRange(middle).end > element) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

void InitializeArenaRange(const ArenaPlan& plan, uint64_t seed, int64_t first_element, absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  const int64_t end_element = first_element + static_cast<int64_t>(out.size());
  const int count = static_cast<int>(plan.parameters().size());
  for (int parameter = FirstParameterAfter(plan, first_element); parameter < count; ++parameter) {
    const ElementRange range = plan.ParameterRange(parameter);
    if (range.begin >= end_element) return;
    const int64_t begin = std::max(range.begin, first_element), end = std::min(range.end, end_element);
    InitializePart(plan.parameters()[parameter].initializer, seed, parameter, begin - range.begin,
                   out.subspan(begin - first_element, end - begin));
  }
}

}  // namespace paramd
