#include "common/partition/arena_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {
namespace {

constexpr int64_t kMaxArenaElements = int64_t{1} << 40;
constexpr int64_t kMinChunkElements = 1024;
constexpr int64_t kMaxChunkElements = int64_t{1} << 20;

absl::Status Refused(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_ARENA", message);
}

// Elements of the parameter, or why it has no place in an arena.
absl::StatusOr<int64_t> CheckedSize(const ParameterSpec& parameter) {
  int64_t size = 1;
  for (const int64_t extent : parameter.shape) {
    if (extent < 1) return Refused(absl::StrCat("parameter \"", parameter.name, "\": extent ", extent, " is below 1"));
    if (extent > kMaxArenaElements / size) {
      return Refused(absl::StrCat("parameter \"", parameter.name, "\" has more than 2^40 elements"));
    }
    size *= extent;
  }
  return size;
}

}  // namespace

absl::StatusOr<ArenaPlan> ArenaPlan::Create(std::vector<ParameterSpec> parameters, int64_t chunk_elements) {
  if (chunk_elements < kMinChunkElements || chunk_elements > kMaxChunkElements ||
      (chunk_elements & (chunk_elements - 1)) != 0) {
    return Refused(absl::StrCat("chunk_elements must be a power of two from 1024 to 1048576, got ", chunk_elements));
  }
  if (parameters.empty()) return Refused("the model has no parameters");
  ArenaPlan plan;
  plan.chunk_elements_ = chunk_elements;
  absl::flat_hash_set<std::string> names;
  for (const ParameterSpec& parameter : parameters) {
    if (!names.insert(parameter.name).second) {
      return Refused(absl::StrCat("two parameters are named \"", parameter.name, "\""));
    }
    const absl::StatusOr<int64_t> size = CheckedSize(parameter);
    if (!size.ok()) return size.status();
    plan.arena_elements_ =
        (plan.arena_elements_ + kArenaAlignmentElements - 1) / kArenaAlignmentElements * kArenaAlignmentElements;
    plan.offsets_.push_back(plan.arena_elements_);
    plan.arena_elements_ += *size;
    plan.parameter_elements_ += *size;
    if (plan.arena_elements_ > kMaxArenaElements) return Refused("the parameters have more than 2^40 elements");
  }
  plan.parameters_ = std::move(parameters);
  plan.chunk_count_ = static_cast<int>((plan.arena_elements_ + chunk_elements - 1) / chunk_elements);
  return plan;
}

ElementRange ArenaPlan::ParameterRange(int parameter) const {
  const int64_t begin = offsets_[parameter];
  return {begin, begin + ElementCount(parameters_[parameter].shape)};
}

ElementRange ArenaPlan::ChunkRange(int chunk) const {
  const int64_t begin = chunk * chunk_elements_;
  return {begin, std::min(begin + chunk_elements_, arena_elements_)};
}

std::pair<int, int> ArenaPlan::ChunksOf(int parameter) const {
  const ElementRange range = ParameterRange(parameter);
  return {static_cast<int>(range.begin / chunk_elements_), static_cast<int>((range.end - 1) / chunk_elements_ + 1)};
}

std::vector<ChunkSegment> ArenaPlan::SegmentsOf(int chunk) const {
  const ElementRange range = ChunkRange(chunk);
  // The last parameter that starts at or before the chunk may reach into it.
  const auto after = std::upper_bound(offsets_.begin(), offsets_.end(), range.begin);
  std::vector<ChunkSegment> segments;
  for (int i = static_cast<int>(after - offsets_.begin()) - 1;
       i < static_cast<int>(offsets_.size()) && offsets_[i] < range.end; ++i) {
    const ElementRange parameter = ParameterRange(i);
    const ElementRange part = {std::max(parameter.begin, range.begin), std::min(parameter.end, range.end)};
    if (part.size() > 0) {
      segments.push_back({.parameter = i, .arena = part, .parameter_offset = part.begin - parameter.begin});
    }
  }
  return segments;
}

int ArenaPlan::Find(absl::string_view name) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace paramd
