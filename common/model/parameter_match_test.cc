#include "common/model/parameter_match.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(GlobMatchTest, Table) {
  struct Case {
    const char* pattern;
    const char* text;
    bool matches;
  };
  const std::vector<Case> cases = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"*", "anything", true},
      {"a", "a", true},
      {"a", "ab", false},
      {"h.*", "h.0.ln", true},
      {"h.*", "wte", false},
      {"*.bias", "h.bias", true},
      {"*.bias", "h.bias.x", false},
      {"h.*.ln_?.*", "h.11.ln_2.weight", true},
      {"h.?.*", "h.11.x", false},
      {"*a*b*", "xxaxxbxx", true},
      {"*a*b*", "xxbxxaxx", false},
      {"a**b", "ab", true},
      {"?", "", false},
      {"*ab", "aab", true},
  };
  for (const Case& c : cases) EXPECT_EQ(GlobMatch(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
}

TEST(GlobMatchTest, ManyStarsDoNotExplode) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatch(pattern + "b", std::string(5000, 'a')));
}

TEST(FindParameterGroupTest, TheFirstWithAMatchingPatternCounts) {
  v1::OptimizerSpec optimizer;
  EXPECT_EQ(FindParameterGroup(optimizer, "wte.weight"), nullptr);
  v1::ParameterGroup& norms = *optimizer.add_groups();
  norms.add_match("*.ln_?.*");
  norms.add_match("ln_f.*");
  optimizer.add_groups()->add_match("*.weight");
  EXPECT_EQ(FindParameterGroup(optimizer, "h.0.ln_1.weight"), &optimizer.groups(0));
  EXPECT_EQ(FindParameterGroup(optimizer, "ln_f.bias"), &optimizer.groups(0));
  EXPECT_EQ(FindParameterGroup(optimizer, "wte.weight"), &optimizer.groups(1));
  EXPECT_EQ(FindParameterGroup(optimizer, "h.0.mlp.c_fc.bias"), nullptr);
}

}  // namespace
}  // namespace paramd
