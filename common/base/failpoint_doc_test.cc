// docs/failpoints.md lists the points that this binary has, each with its kind and what it is.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using Line = std::pair<std::string, std::string>;  // Kind, what.

std::string KindName(FailpointKind kind) {
  switch (kind) {
    case FailpointKind::kPass:
      return "pass";
    case FailpointKind::kFail:
      return "fail";
    case FailpointKind::kIo:
      return "io";
    case FailpointKind::kSwitch:
      return "switch";
  }
  return "";
}

// The rows `| `name` | kind | what |` of the document's list.
std::map<std::string, Line> Documented(const std::string& text) {
  std::map<std::string, Line> rows;
  const size_t start = text.find("\n## Points\n");
  if (start == std::string::npos) return rows;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text).substr(start), '\n')) {
    if (!absl::ConsumePrefix(&line, "| `") || !absl::ConsumeSuffix(&line, " |")) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    if (cells.size() != 3) continue;
    absl::string_view name = cells[0];
    if (absl::ConsumeSuffix(&name, "`")) rows[std::string(name)] = {cells[1], cells[2]};
  }
  return rows;
}

TEST(FailpointDocTest, TheListIsThatOfTheBinary) {
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile("docs/failpoints.md", 1 << 20));
  std::map<std::string, Line> points;
  for (const FailpointInfo& point : AllFailpoints()) {
    points[std::string(point.name)] = {KindName(point.kind), std::string(point.what)};
  }
  EXPECT_EQ(Documented(text), points);
}

}  // namespace
}  // namespace paramd
