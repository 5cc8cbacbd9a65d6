// data_plane as a user runs it, on a small model for one round: every path works, the weights are right, and the JSON
// is what docs/performance.md promises. Times are not looked at.
#include <cstdio>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

struct Output {
  std::string text;
  int exit_code = -1;
};

Output RunDataPlane(const std::string& flags) {
  Output output;
  FILE* const pipe = popen(absl::StrCat("tests/bench/data_plane ", flags).c_str(), "r");
  char buffer[4096];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.text.append(buffer, n);
  output.exit_code = WEXITSTATUS(pclose(pipe));
  return output;
}

std::set<std::string> Keys(const nlohmann::json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

TEST(DataPlaneTest, EveryPathMovesTheModelAndItsWeightsAreRight) {
  const Output output = RunDataPlane("--json --rounds 1 --seconds 0.01 --model-bytes 1048576 --chunk-bytes 65536");
  ASSERT_EQ(output.exit_code, 0);
  const nlohmann::json report = nlohmann::json::parse(output.text);
  EXPECT_EQ(Keys(report), (std::set<std::string>{"rows", "small"}));
  std::set<std::string> paths, codecs;
  for (const nlohmann::json& row : report["rows"]) {
    EXPECT_EQ(Keys(row), (std::set<std::string>{"path", "tls", "codec", "chunk_bytes", "workers", "servers", "gb_per_s",
                                                "cpu_s_per_gb"}));
    EXPECT_GT(row["gb_per_s"], 0) << row;
    paths.insert(absl::StrCat(row["path"].get<std::string>(), row["tls"] ? " tls" : ""));
    codecs.insert(row["codec"]);
  }
  EXPECT_EQ(paths, (std::set<std::string>{"raw_tcp", "stock_unary", "stock_stream", "paramd_tcp", "paramd_tcp tls",
                                          "paramd_unix", "paramd_shm"}));
  EXPECT_EQ(codecs, (std::set<std::string>{"fp32", "bf16", "fp16", "int8", "topk", "onebit"}));
  EXPECT_EQ(report["small"].size(), 5u);
  for (const nlohmann::json& row : report["small"]) {
    EXPECT_GT(row["messages_per_s"], 0) << row;
    EXPECT_GE(row["p99_us"], row["p50_us"]) << row;
  }
}

TEST(DataPlaneTest, WrongFlagsAreRefused) {
  EXPECT_EQ(RunDataPlane("--rounds 0 2>/dev/null").exit_code, 2);
  EXPECT_EQ(RunDataPlane("--rows nothing_like_it 2>/dev/null").exit_code, 1);
}

}  // namespace
}  // namespace paramd
