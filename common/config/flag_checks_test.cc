#include "common/config/flag_checks.h"

#include <fstream>
#include <string>
#include <utility>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

const auto kInvalid = StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG");

TEST(FlagChecksTest, Addresses) {
  EXPECT_OK(CheckAddressFlag("--x", "host:1", false));
  EXPECT_OK(CheckAddressFlag("--x", "host:0", true));
  EXPECT_THAT(CheckAddressFlag("--x", "host:0", false), kInvalid);
  const absl::Status status = CheckAddressFlag("--x", "nowhere", true);
  EXPECT_THAT(status, kInvalid);
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("--x: "));
}

TEST(FlagChecksTest, NodeIds) {
  for (const char* id : {"", "a", "A-9._z"}) EXPECT_OK(CheckNodeIdFlag("--node-id", id)) << id;
  for (const std::string& id : {std::string("a b"), std::string("a/b"), std::string(129, 'x')}) {
    EXPECT_THAT(CheckNodeIdFlag("--node-id", id), kInvalid) << id;
  }
}

TEST(FlagChecksTest, Ranges) {
  EXPECT_OK(CheckRangeFlag("--n", 1, 1, 4));
  EXPECT_OK(CheckRangeFlag("--n", 4, 1, 4));
  EXPECT_THAT(CheckRangeFlag("--n", 0, 1, 4), kInvalid);
  EXPECT_EQ(CheckRangeFlag("--n", 5, 1, 4).message(), "--n: must be 1 to 4, got 5");
}

TEST(FlagChecksTest, Directories) {
  EXPECT_OK(CheckDirectoryFlag("--d", testing::TempDir() + "/made/here"));
  const std::string file = testing::TempDir() + "/a-file";
  std::ofstream(file) << "x";
  for (const std::string& path : {std::string(), file, file + "/below"}) {
    EXPECT_THAT(CheckDirectoryFlag("--d", path), kInvalid) << path;
  }
}

TEST(FlagChecksTest, Bytes) {
  const std::pair<const char*, int64_t> good[] = {
      {"1", 1}, {"10B", 10}, {"2KiB", 2048}, {"1.5MiB", 1572864}, {"1GB", 1000000000}, {"50%", 500}};
  for (const auto& [text, bytes] : good) {
    ASSERT_OK_AND_ASSIGN(const int64_t parsed, ParseBytesFlag("--m", text, 1000));
    EXPECT_EQ(parsed, bytes) << text;
  }
  for (const char* text : {"", "0", "-1", "GiB", "1 GiB", "1gib", "1e300TB", "9999999TiB", "0%", "1.2.3"}) {
    EXPECT_THAT(ParseBytesFlag("--m", text, 1000), kInvalid) << text;
  }
  EXPECT_THAT(ParseBytesFlag("--m", "50%", 0), kInvalid);
}

}  // namespace
}  // namespace paramd
