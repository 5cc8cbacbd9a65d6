#include "common/base/ids.h"

#include <set>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(IdsTest, SuffixesAreDistinctAndUseTheWholeAlphabet) {
  std::set<std::string> seen;
  std::set<char> characters;
  for (int i = 0; i < 1000; ++i) {
    const std::string suffix = RandomSuffix(6);
    EXPECT_THAT(suffix, testing::MatchesRegex("[a-z0-9]{6}"));
    seen.insert(suffix);
    characters.insert(suffix.begin(), suffix.end());
  }
  EXPECT_GE(seen.size(), 999u);  // One collision in 1000 of 36^6 has probability 2e-4.
  EXPECT_EQ(characters.size(), 36u);
  EXPECT_EQ(RandomSuffix(0), "");
}

TEST(IdsTest, IncarnationGrowsWithTime) {
  FakeClock clock(absl::UnixEpoch() + absl::Seconds(5));
  EXPECT_EQ(NewIncarnation(clock), 5000000u);
  clock.Advance(absl::Microseconds(1));
  EXPECT_EQ(NewIncarnation(clock), 5000001u);
}

TEST(IdsTest, HostNameIsNotEmpty) { EXPECT_FALSE(HostName().empty()); }

}  // namespace
}  // namespace paramd
