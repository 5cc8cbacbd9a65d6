#include "server/coordinator/coordinator_gate.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"
#include "server/coordinator/store/sqlite_store.h"

namespace paramd {
namespace {

class CoordinatorGateTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = absl::StrCat(testing::TempDir(), "/gate-", absl::ToUnixNanos(absl::Now()));
    ASSERT_OK(EnsureDirectory(directory));
    ASSERT_OK_AND_ASSIGN(store_, OpenSqliteStore(directory + "/paramd.db"));
    metrics_ = std::make_unique<CoordinatorMetrics>(std::make_shared<prometheus::Registry>(), "sqlite");
  }
  std::shared_ptr<Coordinator> Engine() {
    return std::make_shared<Coordinator>(CoordinatorOptions(), *store_, clock_, *metrics_);
  }

  FakeClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<CoordinatorMetrics> metrics_;
  CoordinatorGate gate_;
};

TEST_F(CoordinatorGateTest, IsClosedAtFirst) {
  EXPECT_THAT(gate_.Get(), StatusIs(absl::StatusCode::kUnavailable, "COORDINATOR_STARTING"));
}

TEST_F(CoordinatorGateTest, AdmitsTheEngineWhileItMayAct) {
  absl::Status allowed;
  const std::shared_ptr<Coordinator> engine = Engine();
  gate_.Open(engine, [&allowed] { return allowed; });
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Coordinator> found, gate_.Get());
  EXPECT_EQ(found, engine);
  EXPECT_OK(gate_.Admits(*engine));
  allowed = MakeError(absl::StatusCode::kUnavailable, "NOT_LEADER", "deposed");
  EXPECT_THAT(gate_.Get(), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_THAT(gate_.Admits(*engine), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
}

TEST_F(CoordinatorGateTest, SaysWhyItIsClosedAndKnowsOldEngines) {
  const std::shared_ptr<Coordinator> old = Engine();
  gate_.Open(old, [] { return absl::OkStatus(); });
  gate_.Close(MakeError(absl::StatusCode::kUnavailable, "NOT_LEADER", "another leads"));
  EXPECT_EQ(old.use_count(), 1);
  EXPECT_THAT(gate_.Get(), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_THAT(gate_.Admits(*old), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  const std::shared_ptr<Coordinator> next = Engine();
  gate_.Open(next, [] { return absl::OkStatus(); });
  EXPECT_THAT(gate_.Admits(*old), StatusIs(absl::StatusCode::kUnavailable, "SESSION_REPLACED"));
  EXPECT_OK(gate_.Admits(*next));
}

}  // namespace
}  // namespace paramd
