#include "tests/bench/data_plane_case.h"

#include <set>

#include "gtest/gtest.h"

namespace paramd {
namespace {

std::vector<std::string> Names(absl::string_view filter) {
  std::vector<std::string> names;
  for (const DataPlaneCase& c : FilterCases(AllCases(), filter)) names.push_back(CaseName(c));
  return names;
}

TEST(DataPlaneCaseTest, NamesAreUnique) {
  std::vector<DataPlaneCase> cases = AllCases();
  for (const DataPlaneCase& c : TuningCases()) cases.push_back(c);
  std::set<std::string> names;
  for (const DataPlaneCase& c : cases) EXPECT_TRUE(names.insert(CaseName(c)).second) << CaseName(c);
}

TEST(DataPlaneCaseTest, FilterIsAListOfWords) {
  EXPECT_EQ(Names("").size(), AllCases().size());
  EXPECT_EQ(Names("raw"), std::vector<std::string>{"raw_tcp/plain/fp32/1024KiB/1x1"});
  EXPECT_EQ(Names("tls,^raw"),
            (std::vector<std::string>{"raw_tcp/plain/fp32/1024KiB/1x1", "paramd_tcp/tls/fp32/1024KiB/1x1"}));
  EXPECT_EQ(Names("^paramd_shm/plain/fp32/4096KiB/1x1$").size(), 1u);
  EXPECT_EQ(Names("2x2$").size(), 2u);
  EXPECT_EQ(Names("^1x1"), std::vector<std::string>{});
}

TEST(DataPlaneCaseTest, SettingsSurviveTheWayToAChild) {
  DataPlaneSettings settings = {.model_bytes = 3, .seconds = 0.5, .checksum = "always", .mallopt = false};
  settings.transport.bdp_probe = true;
  settings.transport.max_frame_bytes = 5;
  const auto copy = nlohmann::json::parse(nlohmann::json(settings).dump()).get<DataPlaneSettings>();
  EXPECT_EQ(nlohmann::json(copy), nlohmann::json(settings));
  EXPECT_EQ(copy.transport.max_frame_bytes, 5);
  EXPECT_FALSE(copy.mallopt);
}

}  // namespace
}  // namespace paramd
