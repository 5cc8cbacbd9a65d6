#include "tests/bench/data_plane_report.h"

#include "gtest/gtest.h"
#include "tests/bench/median.h"

namespace paramd {
namespace {

std::vector<CaseResult> Results() {
  return {
      {.measured = {.path = "raw_tcp"}, .rounds = {{.gb_per_s = 2}, {.gb_per_s = 4}, {.gb_per_s = 1}}},
      {.measured = {.path = "paramd_tcp"},
       .rounds = {{.gb_per_s = 3, .cpu_s_per_gb = 0.5}, {.gb_per_s = 4, .cpu_s_per_gb = 0.25}, {.gb_per_s = 2}}},
      {.measured = {.path = "stock_unary", .small = true},
       .rounds = {{.small = {.messages_per_s = 10, .p50_us = 3, .p99_us = 7}}}},
  };
}

TEST(DataPlaneReportTest, MedianOfOddAndEvenNumbers) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Median({7}), 7);
}

TEST(DataPlaneReportTest, JsonHasTheMediansAndAllFields) {
  EXPECT_EQ(ToJson(Results()), nlohmann::json::parse(R"({
    "rows": [
      {"path": "raw_tcp", "tls": false, "codec": "fp32", "chunk_bytes": 1048576, "workers": 1, "servers": 1,
       "gb_per_s": 2.0, "cpu_s_per_gb": 0.0},
      {"path": "paramd_tcp", "tls": false, "codec": "fp32", "chunk_bytes": 1048576, "workers": 1, "servers": 1,
       "gb_per_s": 3.0, "cpu_s_per_gb": 0.25}],
    "small": [
      {"path": "stock_unary", "tls": false, "bytes": 1024, "messages_per_s": 10.0, "p50_us": 3.0, "p99_us": 7.0}]})"));
}

TEST(DataPlaneReportTest, TableHasOneLinePerRow) {
  const std::string table = ToTable(Results());
  EXPECT_NE(table.find("paramd_tcp/plain/fp32/1024KiB/1x1                3.00        0.250\n"), std::string::npos)
      << table;
  EXPECT_NE(table.find("small/stock_unary                                      10      3.0      7.0\n"),
            std::string::npos)
      << table;
}

TEST(DataPlaneReportTest, FiguresAreMediansOfTheRoundsRatios) {
  // 3/2, 4/4 and 2/1: 1.5 against a goal of 1.15. Rows without their counterpart give no figure.
  EXPECT_EQ(ToFigures(Results()), "TCP against raw TCP, one way                 1.50x  (1.00 to 2.00)  goal 1.15x\n");
  std::vector<CaseResult> slow = Results();
  for (Measurement& m : slow[1].rounds) m.gb_per_s = 1;
  EXPECT_EQ(ToFigures(slow),
            "TCP against raw TCP, one way                 0.50x  (0.25 to 1.00)  goal 1.15x  MISSED\n");
}

}  // namespace
}  // namespace paramd
