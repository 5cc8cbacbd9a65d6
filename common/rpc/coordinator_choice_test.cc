#include "common/rpc/coordinator_choice.h"

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

const absl::Status kDown = absl::UnavailableError("nobody there");

absl::Status Standby(const std::string& leader) {
  ErrorMetadata metadata;
  if (!leader.empty()) metadata["leader"] = leader;
  return MakeError(absl::StatusCode::kUnavailable, "NOT_LEADER", "a standby", metadata);
}

TEST(ParseCoordinatorListTest, TakesOneOrSeveral) {
  EXPECT_THAT(*ParseCoordinatorList("a:1"), testing::ElementsAre("a:1"));
  EXPECT_THAT(*ParseCoordinatorList("a:1,[::1]:2,10.0.0.7:3"), testing::ElementsAre("a:1", "[::1]:2", "10.0.0.7:3"));
}

TEST(ParseCoordinatorListTest, RefusesWhatIsNoList) {
  std::string long_list = "a:1";
  for (int i = 2; i <= 17; ++i) absl::StrAppend(&long_list, ",a:", i);
  for (const std::string& bad :
       {std::string(), std::string("a"), std::string("a:1,"), std::string(",a:1"), std::string("a:1,,b:2"),
        std::string("a:0"), std::string("a:1,b:2,a:1"), std::string("a:1 b:2"), std::string("a:1;b:2"), long_list}) {
    EXPECT_THAT(ParseCoordinatorList(bad), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_ADDRESS")) << bad;
  }
}

TEST(CoordinatorChoiceTest, GoesRoundAndPausesAfterEachRound) {
  CoordinatorChoice choice({"a:1", "b:2", "c:3"});
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(choice.current(), "a:1");
    EXPECT_TRUE(choice.Next(kDown));
    EXPECT_EQ(choice.current(), "b:2");
    EXPECT_TRUE(choice.Next(kDown));
    EXPECT_EQ(choice.current(), "c:3");
    EXPECT_FALSE(choice.Next(kDown));
  }
}

TEST(CoordinatorChoiceTest, TheOnlyOneIsTriedAgainAfterAPause) {
  CoordinatorChoice choice({"a:1"});
  EXPECT_FALSE(choice.Next(kDown));
  EXPECT_EQ(choice.current(), "a:1");
  EXPECT_FALSE(choice.Next(Standby("")));
  EXPECT_FALSE(choice.Next(Standby("a:1")));  // It names itself.
}

TEST(CoordinatorChoiceTest, FollowsAStandbyToTheLeader) {
  CoordinatorChoice choice({"a:1", "b:2", "c:3"});
  EXPECT_TRUE(choice.Next(Standby("c:3")));
  EXPECT_EQ(choice.current(), "c:3");
  choice.Served();
  EXPECT_EQ(choice.current(), "c:3");
  EXPECT_TRUE(choice.Next(kDown));  // The leader died: the list has its turn.
  EXPECT_EQ(choice.current(), "b:2");
}

TEST(CoordinatorChoiceTest, FollowsOneHintInARound) {
  CoordinatorChoice choice({"a:1", "b:2"});
  EXPECT_TRUE(choice.Next(Standby("dead:9")));
  EXPECT_EQ(choice.current(), "dead:9");
  EXPECT_TRUE(choice.Next(kDown));
  EXPECT_EQ(choice.current(), "b:2");
  EXPECT_FALSE(choice.Next(Standby("dead:9")));  // Not again before the pause.
  EXPECT_EQ(choice.current(), "a:1");
  EXPECT_TRUE(choice.Next(Standby("new:8")));
  EXPECT_EQ(choice.current(), "new:8");
}

}  // namespace
}  // namespace paramd
