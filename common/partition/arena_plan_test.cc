#include "common/partition/arena_plan.h"

#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;

std::vector<ParameterSpec> Parameters(const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<ParameterSpec> parameters;
  for (const auto& shape : shapes) parameters.push_back({.name = absl::StrCat("p", parameters.size()), .shape = shape});
  return parameters;
}

TEST(ArenaPlanTest, AlignsParametersAndCutsChunks) {
  ASSERT_OK_AND_ASSIGN(const ArenaPlan plan, ArenaPlan::Create(Parameters({{1}, {3, 500}, {16}, {2000}}), 1024));
  EXPECT_EQ(plan.ParameterRange(0), (ElementRange{0, 1}));
  EXPECT_EQ(plan.ParameterRange(1), (ElementRange{16, 1516}));
  EXPECT_EQ(plan.ParameterRange(2), (ElementRange{1520, 1536}));
  EXPECT_EQ(plan.ParameterRange(3), (ElementRange{1536, 3536}));
  EXPECT_EQ(plan.arena_elements(), 3536);
  EXPECT_EQ(plan.parameter_elements(), 3517);
  EXPECT_EQ(plan.chunk_count(), 4);
  EXPECT_EQ(plan.ChunkRange(0), (ElementRange{0, 1024}));
  EXPECT_EQ(plan.ChunkRange(3), (ElementRange{3072, 3536}));
  EXPECT_THAT(plan.ChunksOf(0), Pair(0, 1));
  EXPECT_THAT(plan.ChunksOf(1), Pair(0, 2));
  EXPECT_THAT(plan.ChunksOf(3), Pair(1, 4));
  EXPECT_EQ(plan.Find("p2"), 2);
  EXPECT_EQ(plan.Find("p4"), -1);
}

TEST(ArenaPlanTest, SegmentsOfAChunk) {
  ASSERT_OK_AND_ASSIGN(const ArenaPlan plan, ArenaPlan::Create(Parameters({{1}, {3, 500}, {16}, {2000}}), 1024));
  const std::vector<ChunkSegment> segments = plan.SegmentsOf(1);
  ASSERT_EQ(segments.size(), 3u);
  EXPECT_EQ(segments[0].parameter, 1);
  EXPECT_EQ(segments[0].arena, (ElementRange{1024, 1516}));
  EXPECT_EQ(segments[0].parameter_offset, 1008);
  EXPECT_EQ(segments[1].parameter, 2);
  EXPECT_EQ(segments[2].arena, (ElementRange{1536, 2048}));
  EXPECT_EQ(segments[2].parameter_offset, 0);
}

// Chunks tile the arena; segments tile the parameters; the rest is padding.
void CheckInvariants(const ArenaPlan& plan) {
  std::vector<int64_t> covered(plan.parameters().size(), 0);
  int64_t chunk_end = 0;
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    const ElementRange range = plan.ChunkRange(chunk);
    EXPECT_EQ(range.begin, chunk_end);
    EXPECT_GT(range.size(), 0);
    chunk_end = range.end;
    int64_t at = range.begin;
    for (const ChunkSegment& segment : plan.SegmentsOf(chunk)) {
      EXPECT_GE(segment.arena.begin, at);
      EXPECT_LE(segment.arena.end, range.end);
      EXPECT_GT(segment.arena.size(), 0);
      EXPECT_EQ(segment.parameter_offset, covered[segment.parameter]);
      EXPECT_EQ(plan.ParameterRange(segment.parameter).begin + segment.parameter_offset, segment.arena.begin);
      const auto [first, end] = plan.ChunksOf(segment.parameter);
      EXPECT_TRUE(first <= chunk && chunk < end);
      covered[segment.parameter] += segment.arena.size();
      at = segment.arena.end;
    }
  }
  EXPECT_EQ(chunk_end, plan.arena_elements());
  for (size_t i = 0; i < covered.size(); ++i) {
    EXPECT_EQ(covered[i], plan.ParameterRange(i).size());
    EXPECT_EQ(plan.ParameterRange(i).begin % kArenaAlignmentElements, 0);
  }
  EXPECT_EQ(std::accumulate(covered.begin(), covered.end(), int64_t{0}), plan.parameter_elements());
}

TEST(ArenaPlanTest, InvariantsAtTheEdges) {
  for (const auto& shapes : std::vector<std::vector<std::vector<int64_t>>>{
           {{1}},
           {{}},  // A scalar.
           {{1024}},
           {{1025}},
           {{1024}, {1}},
           {{1009}, {1}},  // The gap ends exactly at the chunk's end.
           {{1008}, {16}, {16}},
           {{1}, {5000}, {1}, {1}},
           {{1023}, {1023}, {1023}},
       }) {
    ASSERT_OK_AND_ASSIGN(const ArenaPlan plan, ArenaPlan::Create(Parameters(shapes), 1024));
    CheckInvariants(plan);
  }
}

TEST(ArenaPlanTest, LargestArena) {
  ASSERT_OK_AND_ASSIGN(const ArenaPlan plan, ArenaPlan::Create(Parameters({{1 << 20, 1 << 20}}), 1024));
  EXPECT_EQ(plan.chunk_count(), 1 << 30);
  EXPECT_EQ(plan.ChunkRange((1 << 30) - 1).end, int64_t{1} << 40);
  EXPECT_EQ(plan.SegmentsOf((1 << 30) - 1)[0].parameter_offset, (int64_t{1} << 40) - 1024);
}

TEST(ArenaPlanTest, Refusals) {
  const int64_t huge = int64_t{1} << 40;
  struct Case {
    std::vector<std::vector<int64_t>> shapes;
    int64_t chunk_elements;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{{{}, 1024, "no parameters"},
                                         {{{0}}, 1024, "extent 0"},
                                         {{{2, -1}}, 1024, "extent -1"},
                                         {{{huge + 1}}, 1024, "2^40"},
                                         {{{huge, huge}}, 1024, "2^40"},
                                         {{{huge}, {1}}, 1024, "2^40"},
                                         {{{1}}, 512, "power of two"},
                                         {{{1}}, 1 << 21, "power of two"},
                                         {{{1}}, 1025, "power of two"},
                                         {{{1}}, 0, "power of two"},
                                         {{{1}}, -1024, "power of two"}}) {
    const auto plan = ArenaPlan::Create(Parameters(c.shapes), c.chunk_elements);
    EXPECT_THAT(plan, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_ARENA")) << c.message;
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr(c.message));
  }
  EXPECT_THAT(ArenaPlan::Create({{.name = "w", .shape = {1}}, {.name = "w", .shape = {2}}}, 1024),
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_ARENA"));
}

}  // namespace
}  // namespace paramd
