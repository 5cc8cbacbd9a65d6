#include "common/base/logging.h"

#include <algorithm>
#include <string>

#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::MatchesRegex;

std::string LogOf(const char* level, void (*body)()) {
  testing::internal::CaptureStderr();
  EXPECT_OK(InitLogging("paramd-test", level));
  body();
  return testing::internal::GetCapturedStderr();
}

TEST(LoggingTest, OneLinePerRecord) {
  const std::string text = LogOf("info", [] { spdlog::info("step {} done\nfake line\x1b[31m", 7); });
  EXPECT_THAT(text, MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z info "
                                 "paramd-test\\[[0-9]+\\] step 7 done\\\\nfake line\\\\x1b\\[31m\n"));
}

TEST(LoggingTest, LevelsFilter) {
  const auto all = [] {
    spdlog::trace("a");
    spdlog::debug("b");
    spdlog::info("c");
    spdlog::warn("d");
    spdlog::error("e");
  };
  const auto lines = [&](const char* level) {
    const std::string text = LogOf(level, all);
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines("trace"), 5);
  EXPECT_EQ(lines("debug"), 4);
  EXPECT_EQ(lines("info"), 3);
  EXPECT_EQ(lines("warning"), 2);
  EXPECT_EQ(lines("error"), 1);
}

TEST(LoggingTest, BadLevelIsRefused) {
  for (const char* level : {"", "INFO", "verbose", "off"}) {
    EXPECT_THAT(InitLogging("x", level), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_LOG_LEVEL")) << level;
  }
}

TEST(LoggingTest, Escapes) {
  EXPECT_EQ(EscapeLogMessage("a\r\n\tb\x01\x7f"), "a\\r\\n\\tb\\x01\\x7f");
  EXPECT_EQ(EscapeLogMessage("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

}  // namespace
}  // namespace paramd
