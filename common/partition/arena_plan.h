// Where every parameter lies in the job's arena, and how the arena is cut into chunks.
//
// Parameters lie in model order, each starting at a multiple of 16 elements (64 bytes); the gaps are padding, always 0.
// Chunk c is elements [c * chunk_elements, min((c + 1) * chunk_elements, arena_elements)).
//
//   ASSIGN_OR_RETURN(ArenaPlan plan, ArenaPlan::Create(layout, 262144));
//   for (int32_t chunk : plan.ChunksOf(tensor)) ...
//
// Immutable after creation, thread safe, copyable. Knows nothing of servers (chunk_map.h) or values.
#ifndef PARAMD_COMMON_PARTITION_ARENA_PLAN_H_
#define PARAMD_COMMON_PARTITION_ARENA_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/parameter_layout.h"

namespace paramd {

inline constexpr int64_t kArenaAlignmentElements = 16;

// A half-open range of arena elements.
struct ElementRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const ElementRange&) const = default;
};

// Part of one parameter inside one chunk.
struct ChunkSegment {
  int parameter = 0;             // Index in the layout.
  ElementRange arena;            // Of the part.
  int64_t parameter_offset = 0;  // First element of the part within the parameter.
};

class ArenaPlan {
 public:
  ArenaPlan() = default;
  // kInvalidArgument: empty layout, duplicate names, an extent < 1, a size above 2^40, chunk_elements not a power of
  // two in [1024, 2^20].
  static absl::StatusOr<ArenaPlan> Create(std::vector<ParameterSpec> parameters, int64_t chunk_elements);

  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  int64_t chunk_elements() const { return chunk_elements_; }
  int64_t arena_elements() const { return arena_elements_; }          // Including padding.
  int64_t parameter_elements() const { return parameter_elements_; }  // Without padding.
  int chunk_count() const { return chunk_count_; }

  ElementRange ParameterRange(int parameter) const;
  ElementRange ChunkRange(int chunk) const;
  // First and last + 1 chunk that the parameter touches.
  std::pair<int, int> ChunksOf(int parameter) const;
  // The parameters' parts inside the chunk, ascending; padding is in none.
  std::vector<ChunkSegment> SegmentsOf(int chunk) const;
  // Index of the parameter with this name, or -1.
  int Find(absl::string_view name) const;

 private:
  std::vector<ParameterSpec> parameters_;
  std::vector<int64_t> offsets_;
  int64_t chunk_elements_ = 0;
  int64_t arena_elements_ = 0;
  int64_t parameter_elements_ = 0;
  int chunk_count_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_ARENA_PLAN_H_
