#include "common/config/suggest.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(SuggestTest, EditDistances) {
  const struct {
    const char* a;
    const char* b;
    int distance;
  } cases[] = {{"", "", 0},       {"", "abc", 3},           {"abc", "", 3},
               {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"abcd", "abdc", 1},
               {"ab", "ba", 1},   {"ca", "abc", 3},         {"optimiser", "optimizer", 1}};
  for (const auto& c : cases) {
    EXPECT_EQ(EditDistance(c.a, c.b), c.distance) << c.a << " " << c.b;
    EXPECT_EQ(EditDistance(c.b, c.a), c.distance) << c.b << " " << c.a;
  }
}

TEST(SuggestTest, SuggestsOnlyWhatIsNear) {
  const std::vector<std::string> names = {"optimizer", "output", "seed"};
  EXPECT_EQ(Suggest("optimiser", names), "optimizer");
  EXPECT_EQ(Suggest("sede", names), "seed");
  EXPECT_EQ(Suggest("xyz", names), "");
  EXPECT_EQ(Suggest("", names), "");
  EXPECT_EQ(Suggest(std::string(1000, 'o'), names), "");
  EXPECT_EQ(Suggest("seed", {}), "");
}

}  // namespace
}  // namespace paramd
