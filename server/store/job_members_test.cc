#include "server/store/job_members.h"

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

v1::Placement TwoWorkers() {
  v1::Placement placement;
  for (uint32_t i = 0; i < 2; ++i) {
    v1::WorkerPlacement& worker = *placement.add_workers();
    worker.set_node_id(i == 0 ? "w0" : "w1");
    worker.set_incarnation(10 + i);
    worker.set_first_slot(2 * i);
    worker.set_slot_count(2);
  }
  return placement;
}

TEST(JobMembersTest, RefusesWhoIsNotOfTheGeneration) {
  ASSERT_OK_AND_ASSIGN(const auto members, JobMembers::Create(5, TwoWorkers(), 4));
  EXPECT_OK(members->Check(5, 1, 11));
  EXPECT_THAT(members->Check(4, 1, 11), StatusIs(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED"));
  EXPECT_THAT(members->Check(6, 1, 11), StatusIs(absl::StatusCode::kUnavailable, "GENERATION_UNKNOWN"));
  EXPECT_THAT(members->Check(5, 1, 10), StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
  EXPECT_THAT(members->Check(5, 2, 11), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_WORKER"));
}

TEST(JobMembersTest, RefusesSlotsThatAreNoPartition) {
  const auto refused = [](auto change) {
    v1::Placement placement = TwoWorkers();
    change(placement);
    EXPECT_THAT(JobMembers::Create(5, placement, 4).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT"));
  };
  refused([](v1::Placement& p) { p.clear_workers(); });
  refused([](v1::Placement& p) { p.mutable_workers(1)->set_first_slot(3); });
  refused([](v1::Placement& p) { p.mutable_workers(1)->set_slot_count(1); });
  refused([](v1::Placement& p) { p.mutable_workers(1)->set_slot_count(3); });
  refused([](v1::Placement& p) { p.mutable_workers(0)->set_slot_count(0); });
}

TEST(JobMembersTest, AWorkerThatCameBackIsAnotherOne) {
  ASSERT_OK_AND_ASSIGN(const auto before, JobMembers::Create(5, TwoWorkers(), 4));
  v1::Placement placement = TwoWorkers();
  placement.mutable_workers()->SwapElements(0, 1);
  placement.mutable_workers(0)->set_first_slot(0);
  placement.mutable_workers(1)->set_first_slot(2);
  placement.mutable_workers(1)->set_joined_generation(6);  // w0 again.
  ASSERT_OK_AND_ASSIGN(const auto after, JobMembers::Create(6, placement, 4));
  EXPECT_EQ(after->IndexOf(before->workers[1]), 0u);
  EXPECT_EQ(after->IndexOf(before->workers[0]), std::nullopt);
}

}  // namespace
}  // namespace paramd
