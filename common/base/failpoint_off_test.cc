// Built with PARAMD_NO_FAILPOINTS, as --config=release builds everything.
#include "common/base/failpoint.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

static_assert(!kHasFailpoints);
static_assert(!failpoint_internal::armed(), "a constant, so that the compiler drops the points");

TEST(FailpointOffTest, ArmingIsAnErrorAndPointsDoNothing) {
  EXPECT_THAT(ArmFailpoints("store.commit=fail(ABORTED)"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "NO_FAILPOINTS"));
  EXPECT_OK(HitFailpoint(Failpoint::kStoreCommit));
  EXPECT_TRUE(CountFailpoints().empty());
}

}  // namespace
}  // namespace paramd
