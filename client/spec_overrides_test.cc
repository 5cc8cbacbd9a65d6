#include "client/spec_overrides.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "yaml-cpp/yaml.h"

namespace paramd {
namespace {

YAML::Node Apply(const std::string& text, const std::vector<std::string>& overrides) {
  return YAML::Load(ApplyOverrides(text, overrides).value());
}

TEST(ApplyOverrides, LeavesTheTextAloneWithoutOverrides) {
  EXPECT_EQ(*ApplyOverrides("a: 1  # comment\n", {}), "a: 1  # comment\n");
}

TEST(ApplyOverrides, ReplacesAddsAndMakesMaps) {
  const YAML::Node node = Apply("a: 1\nb: {c: 2, d: 3}\n", {"a=9", "b.c=adamw", "x.y.z=[1, 2]", "spec.b.e=", "a=10"});
  EXPECT_EQ(node["a"].as<int>(), 10);
  EXPECT_EQ(node["b"]["c"].as<std::string>(), "adamw");
  EXPECT_EQ(node["b"]["d"].as<int>(), 3);
  EXPECT_EQ(node["x"]["y"]["z"][1].as<int>(), 2);
  EXPECT_EQ(node["b"]["e"].as<std::string>(), "");
}

TEST(ApplyOverrides, ReachesIntoListsAndAppends) {
  const YAML::Node node = Apply("files: [a, b]\n", {"files.0=x=y", "files.2=c"});
  EXPECT_EQ(node["files"].size(), 3u);
  EXPECT_EQ(node["files"][0].as<std::string>(), "x=y");
  EXPECT_EQ(node["files"][2].as<std::string>(), "c");
}

TEST(ApplyOverrides, WorksOnJsonAndOnNothing) {
  EXPECT_EQ(Apply(R"({"a": {"b": 1}})", {"a.b=2"})["a"]["b"].as<int>(), 2);
  EXPECT_EQ(Apply("", {"a.b=2"})["a"]["b"].as<int>(), 2);
}

TEST(ApplyOverrides, RefusesWhatItCannotDo) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"steps", "must be path=value"},  {"=3", "must be path=value"},       {"a..b=1", "empty name"},
      {"a.b=1", "lies inside a value"}, {"list.7=1", "no index of a list"}, {"list.x=1", "no index of a list"},
      {"b=[1", "--set b=[1"},
  };
  for (const auto& [override_text, message] : cases) {
    const auto result = ApplyOverrides("a: 1\nlist: [1]\n", {override_text});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << override_text;
    EXPECT_THAT(std::string(result.status().message()), ::testing::HasSubstr(message));
  }
  EXPECT_EQ(ApplyOverrides("- 1\n", {"a=1"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ApplyOverrides("a: [", {"a=1"}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace paramd
