#include "client/suggest.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(ClosestWord, FindsTyposAndNothingElse) {
  const std::vector<std::string> verbs = {"submit", "get", "list", "describe", "watch", "wait"};
  EXPECT_EQ(ClosestWord("sumbit", verbs), "submit");
  EXPECT_EQ(ClosestWord("descibe", verbs), "describe");
  EXPECT_EQ(ClosestWord("lst", verbs), "list");
  EXPECT_EQ(ClosestWord("wacth", verbs), "watch");
  EXPECT_EQ(ClosestWord("apply", verbs), "");
  EXPECT_EQ(ClosestWord("", verbs), "");
  EXPECT_EQ(ClosestWord(std::string(1000, 's'), verbs), "");
  EXPECT_EQ(ClosestWord("x", {}), "");
}

}  // namespace
}  // namespace paramd
