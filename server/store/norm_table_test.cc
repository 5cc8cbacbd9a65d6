#include "server/store/norm_table.h"

#include <cmath>
#include <limits>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(NormTableTest, AddsInChunkOrderWhateverTheOrderOfArrival) {
  NormTable forwards({2, 5, 9}), backwards({2, 5, 9});
  const double norms[] = {1e16, 1.0, 1.0};  // (1e16 + 1) + 1 differs from 1e16 + (1 + 1).
  const uint32_t chunks[] = {2, 5, 9};
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(forwards.Total(0).has_value());
    ASSERT_OK(forwards.Add(0, chunks[i], norms[i]));
    ASSERT_OK(backwards.Add(0, chunks[2 - i], norms[2 - i]));
  }
  EXPECT_EQ(forwards.Total(0), 1e16);
  EXPECT_EQ(backwards.Total(0), 1e16);
}

TEST(NormTableTest, RepeatedReportsChangeNothing) {
  NormTable table({0, 1});
  ASSERT_OK(table.Add(0, 0, 1));
  ASSERT_OK(table.Add(0, 0, 100));
  EXPECT_FALSE(table.Total(0).has_value());
  ASSERT_OK(table.Add(0, 1, 2));
  ASSERT_OK(table.Add(0, 1, 100));
  EXPECT_EQ(table.Total(0), 3);
}

TEST(NormTableTest, NonFiniteNormsMakeTheTotalNonFinite) {
  NormTable table({0, 1});
  ASSERT_OK(table.Add(0, 0, std::numeric_limits<double>::quiet_NaN()));
  ASSERT_OK(table.Add(0, 1, 2));
  EXPECT_FALSE(std::isfinite(*table.Total(0)));
}

TEST(NormTableTest, StepsComeInOrderAndTheLastOnesStay) {
  NormTable table({0, 1});
  EXPECT_THAT(table.Add(1, 0, 1), StatusIs(absl::StatusCode::kFailedPrecondition, "STEP_AHEAD"));
  for (uint64_t step = 0; step < 10; ++step) {
    ASSERT_OK(table.Add(step, 0, step));
    EXPECT_THAT(table.Add(step + 1, 0, 1), StatusIs(absl::StatusCode::kFailedPrecondition, "STEP_AHEAD"));
    ASSERT_OK(table.Add(step, 1, 1));
  }
  for (uint64_t step = 6; step < 10; ++step) {
    EXPECT_EQ(table.Total(step), step + 1.0);
    EXPECT_OK(table.Add(step, 1, 1));  // Asked again after a lost answer.
  }
  EXPECT_FALSE(table.Total(5).has_value());
  EXPECT_THAT(table.Add(5, 1, 1), StatusIs(absl::StatusCode::kFailedPrecondition, "STEP_FORGOTTEN"));
}

TEST(NormTableTest, RefusesUnknownChunks) {
  NormTable table({1, 3});
  for (uint32_t chunk : {0, 2, 4}) {
    EXPECT_THAT(table.Add(0, chunk, 1), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_CHUNK"));
  }
}

}  // namespace
}  // namespace paramd
