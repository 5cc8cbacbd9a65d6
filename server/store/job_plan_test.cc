#include "server/store/job_plan.h"

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

TEST(JobPlanTest, TakesAGoodAssignment) {
  ASSERT_OK_AND_ASSIGN(const auto plan,
                       JobPlan::Create(TestAssignment({.servers = 2, .optimizer = v1::OPTIMIZER_TYPE_ADAM}), 1));
  EXPECT_EQ(plan->local_chunks, (std::vector<int>{1, 3}));
  EXPECT_EQ(plan->local_elements(), 2048);
  EXPECT_EQ(plan->memory_bytes(), 2048 * 16);
  EXPECT_FALSE(plan->is_lead());
  EXPECT_FALSE(plan->needs_total_norm());
}

TEST(JobPlanTest, NeedsTheTotalNormToClipOrToSkipTogether) {
  const auto needs = [](const TestJobOptions& options) {
    return (*JobPlan::Create(TestAssignment(options), 0))->needs_total_norm();
  };
  EXPECT_TRUE(needs({.clip_norm = 1}));
  EXPECT_TRUE(needs({.non_finite = v1::NON_FINITE_POLICY_SKIP}));
  EXPECT_FALSE(needs({.mode = v1::SYNC_MODE_SSP, .clip_norm = 1}));
}

TEST(JobPlanTest, RefusesContradictions) {
  const auto refused = [](auto change, const char* reason) {
    v1::JobAssignment assignment = TestAssignment({.workers = 2, .servers = 2});
    change(assignment);
    EXPECT_THAT(JobPlan::Create(assignment, 0).status(), StatusIs(absl::StatusCode::kInvalidArgument, reason));
  };
  using A = v1::JobAssignment;
  refused([](A& a) { a.mutable_spec()->mutable_training()->set_slots(0); }, "INVALID_SPEC");
  refused([](A& a) { a.mutable_spec()->mutable_training()->set_slots(5000); }, "INVALID_SPEC");
  refused([](A& a) { a.mutable_spec()->mutable_training()->set_steps(0); }, "INVALID_SPEC");
  refused([](A& a) { a.mutable_spec()->mutable_sync()->set_mode(v1::SYNC_MODE_UNSPECIFIED); }, "INVALID_SPEC");
  refused([](A& a) { a.mutable_spec()->mutable_optimizer()->set_clip_norm(-1); }, "INVALID_SPEC");
  refused([](A& a) { a.mutable_placement()->clear_workers(); }, "INVALID_PLACEMENT");
  refused([](A& a) { a.mutable_placement()->mutable_workers(1)->set_first_slot(3); }, "INVALID_PLACEMENT");
  refused([](A& a) { a.mutable_placement()->mutable_workers(1)->set_slot_count(1); }, "INVALID_PLACEMENT");
  refused([](A& a) { a.mutable_placement()->add_chunk_server(0); }, "INVALID_PLACEMENT");
  refused([](A& a) { a.mutable_placement()->set_chunk_server(0, 2); }, "INVALID_PLACEMENT");
  refused([](A& a) { a.mutable_placement()->set_arena_elements(1); }, "INVALID_PLACEMENT");
  refused([](A& a) { a.mutable_placement()->clear_servers(); }, "INVALID_PLACEMENT");
  EXPECT_THAT(JobPlan::Create(TestAssignment(), 1).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT"));
}

}  // namespace
}  // namespace paramd
