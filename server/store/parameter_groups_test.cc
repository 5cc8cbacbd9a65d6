#include "server/store/parameter_groups.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

std::vector<ParameterSpec> Layout() {
  return {{.name = "wte.weight", .shape = {4}, .role = ParameterRole::kWeight},
          {.name = "h.0.ln.weight", .shape = {4}, .role = ParameterRole::kNorm},
          {.name = "h.0.fc.weight", .shape = {4}, .role = ParameterRole::kWeight},
          {.name = "h.0.fc.bias", .shape = {4}, .role = ParameterRole::kBias}};
}

TEST(ParameterGroupsTest, BiasesAndNormsDoNotDecayByDefault) {
  v1::OptimizerSpec spec;
  spec.set_weight_decay(0.1);
  const std::vector<ParameterSettings> settings = ResolveParameterGroups(spec, Layout());
  ASSERT_EQ(settings.size(), 4u);
  EXPECT_EQ(settings[0], (ParameterSettings{.weight_decay = 0.1}));
  EXPECT_EQ(settings[1], (ParameterSettings{.weight_decay = 0}));
  EXPECT_EQ(settings[2], (ParameterSettings{.weight_decay = 0.1}));
  EXPECT_EQ(settings[3], (ParameterSettings{.weight_decay = 0}));
}

TEST(ParameterGroupsTest, FirstMatchingGroupCountsAndUnsetFieldsKeepDefaults) {
  v1::OptimizerSpec spec;
  spec.set_weight_decay(0.1);
  v1::ParameterGroup& frozen = *spec.add_groups();
  frozen.add_match("nothing");
  frozen.add_match("wte.*");
  frozen.set_learning_rate_scale(0);
  v1::ParameterGroup& all = *spec.add_groups();
  all.add_match("*");
  all.set_weight_decay(0.5);
  all.set_learning_rate_scale(2);
  const std::vector<ParameterSettings> settings = ResolveParameterGroups(spec, Layout());
  EXPECT_EQ(settings[0], (ParameterSettings{.weight_decay = 0.1, .learning_rate_scale = 0}));
  for (int i = 1; i < 4; ++i) {
    EXPECT_EQ(settings[i], (ParameterSettings{.weight_decay = 0.5, .learning_rate_scale = 2})) << i;
  }
}

}  // namespace
}  // namespace paramd
