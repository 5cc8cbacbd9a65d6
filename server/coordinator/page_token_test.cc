#include "server/coordinator/page_token.h"

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(PageTokenTest, ComesBackForTheSameFilterOnly) {
  const std::vector<v1::JobState> filter = {v1::JOB_STATE_RUNNING};
  const std::string token = MakePageToken(42, filter);
  ASSERT_OK_AND_ASSIGN(const uint64_t ordinal, ParsePageToken(token, filter));
  EXPECT_EQ(ordinal, 42u);
  EXPECT_THAT(ParsePageToken(token, {}), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN"));
  for (const std::string& bad : {std::string("?"), std::string("NDI6MQ"), token.substr(1), token + "AAAA"}) {
    EXPECT_THAT(ParsePageToken(bad, filter), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN")) << bad;
  }
}

}  // namespace
}  // namespace paramd
