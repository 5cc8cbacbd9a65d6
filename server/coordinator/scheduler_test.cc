#include "server/coordinator/scheduler.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using Kind = Decision::Kind;
using testing::HasSubstr;

v1::JobSpec Spec(uint32_t servers, uint32_t workers) {
  v1::JobSpec spec;
  for (uint32_t width : {16, 32, 4}) spec.mutable_model()->mutable_mlp()->add_widths(width);
  spec.mutable_training()->set_slots(8);
  spec.mutable_resources()->set_servers(servers);
  spec.mutable_resources()->set_workers(workers);
  spec.mutable_resources()->set_chunk_elements(1024);
  spec.mutable_optimizer()->set_type(v1::OPTIMIZER_TYPE_SGD);
  return spec;
}

ClusterCapacity Cluster(const std::vector<int64_t>& limits, const std::vector<uint32_t>& places) {
  ClusterCapacity cluster;
  for (size_t i = 0; i < limits.size(); ++i) {
    cluster.servers.push_back({absl::StrCat("s", i), 1, absl::StrCat("host:", i), limits[i], limits[i]});
  }
  for (size_t i = 0; i < places.size(); ++i) cluster.workers.push_back({absl::StrCat("w", i), 1, places[i], places[i]});
  return cluster;
}

constexpr int64_t kPlenty = 1 << 30;

TEST(SchedulerTest, PlacesChunksAndSlots) {
  const v1::JobSpec spec = Spec(2, 3);
  const auto decisions = ScheduleJobs({{"a", &spec}}, Cluster({kPlenty / 2, kPlenty}, {1, 1, 2}), {});
  ASSERT_EQ(decisions.size(), 1u);
  ASSERT_EQ(decisions[0].kind, Kind::kPlace) << decisions[0].message;
  const v1::Placement& placement = decisions[0].placement;
  ASSERT_OK_AND_ASSIGN(const ArenaDemand demand, PlanArena(spec));
  EXPECT_EQ(placement.servers(0).node_id(), "s1");  // The most free memory leads.
  EXPECT_EQ(placement.servers(1).node_id(), "s0");
  EXPECT_EQ(placement.chunk_server_size(), static_cast<int>(demand.chunk_bytes.size()));
  EXPECT_EQ(static_cast<int64_t>(placement.servers(0).memory_bytes() + placement.servers(1).memory_bytes()),
            demand.total_bytes);
  ASSERT_EQ(placement.workers_size(), 3);
  EXPECT_EQ(placement.workers(0).node_id(), "w2");  // The most free places.
  uint32_t slot = 0;
  for (const v1::WorkerPlacement& worker : placement.workers()) {
    EXPECT_EQ(worker.first_slot(), slot);
    slot += worker.slot_count();
  }
  EXPECT_EQ(slot, 8u);
}

TEST(SchedulerTest, PlacementsSayHowToReachServersLocally) {
  const v1::JobSpec spec = Spec(2, 1);
  ClusterCapacity cluster = Cluster({kPlenty, kPlenty / 2}, {1});
  cluster.servers[0].host_id = "host-a";
  cluster.servers[0].local_address = "unix:/run/paramd/s0";
  const auto decisions = ScheduleJobs({{"a", &spec}}, cluster, {});
  ASSERT_EQ(decisions[0].kind, Kind::kPlace) << decisions[0].message;
  const v1::Placement& placement = decisions[0].placement;
  EXPECT_EQ(placement.servers(0).host_id(), "host-a");
  EXPECT_EQ(placement.servers(0).local_address(), "unix:/run/paramd/s0");
  EXPECT_EQ(placement.servers(1).host_id(), "");
  EXPECT_EQ(placement.servers(1).local_address(), "");
}

TEST(SchedulerTest, SaysWhatAJobWaitsFor) {
  struct Row {
    const char* what;
    v1::JobSpec spec;
    ClusterCapacity cluster;
    const char* reason;
    const char* message;
  };
  ClusterCapacity busy = Cluster({kPlenty}, {1, 1, 1, 1});
  for (int i = 0; i < 3; ++i) busy.workers[i].free = 0;
  ClusterCapacity full = Cluster({kPlenty}, {1});
  full.servers[0].free_bytes = 10;
  const Row rows[] = {
      {"no server", Spec(1, 1), Cluster({}, {1}), "INSUFFICIENT_SERVERS",
       "waits for 1 more server: 1 needed, 0 registered, 0 free"},
      {"few workers", Spec(1, 3), Cluster({kPlenty}, {1}), "INSUFFICIENT_WORKERS",
       "waits for 2 more workers: 3 needed, 1 registered, 1 free"},
      {"busy workers", Spec(1, 3), busy, "INSUFFICIENT_WORKERS",
       "waits for 2 more workers: 3 needed, 4 registered, 1 free"},
      {"memory taken", Spec(1, 1), full, "INSUFFICIENT_MEMORY", "10 free"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const auto decisions = ScheduleJobs({{"a", &row.spec}}, row.cluster, {});
    EXPECT_EQ(decisions[0].kind, Kind::kWait);
    EXPECT_EQ(decisions[0].reason, row.reason);
    EXPECT_THAT(decisions[0].message, HasSubstr(row.message));
  }
}

TEST(SchedulerTest, TooLargeAModelFailsUnlessNodesAreStillComing) {
  const v1::JobSpec spec = Spec(2, 1);
  const auto decisions = ScheduleJobs({{"a", &spec}}, Cluster({100, 200}, {}), {});
  EXPECT_EQ(decisions[0].kind, Kind::kFail);
  EXPECT_THAT(decisions[0].error, StatusIs(absl::StatusCode::kResourceExhausted, "MODEL_TOO_LARGE"));
  EXPECT_EQ(GetErrorMetadata(decisions[0].error)["availableBytes"], "300");
  const auto later = ScheduleJobs({{"a", &spec}}, Cluster({100, 200}, {}), {.fail_too_large = false});
  EXPECT_EQ(later[0].kind, Kind::kWait);
  EXPECT_EQ(later[0].reason, "INSUFFICIENT_MEMORY");
}

TEST(SchedulerTest, RunsSeveralJobsWhenThereIsRoom) {
  const v1::JobSpec spec = Spec(1, 1);
  const auto decisions = ScheduleJobs({{"a", &spec}, {"b", &spec}, {"c", &spec}}, Cluster({kPlenty}, {1, 1}), {});
  EXPECT_EQ(decisions[0].kind, Kind::kPlace);
  EXPECT_EQ(decisions[1].kind, Kind::kPlace);
  EXPECT_NE(decisions[0].placement.workers(0).node_id(), decisions[1].placement.workers(0).node_id());
  EXPECT_EQ(decisions[2].reason, "INSUFFICIENT_WORKERS");
}

TEST(SchedulerTest, AJobThatFitsTheEmptyClusterHoldsBackLaterOnes) {
  const v1::JobSpec large = Spec(1, 2);
  const v1::JobSpec small = Spec(1, 1);
  ClusterCapacity cluster = Cluster({kPlenty}, {1, 1});
  cluster.workers[0].free = 0;
  const auto decisions = ScheduleJobs({{"large", &large}, {"small", &small}}, cluster, {});
  EXPECT_EQ(decisions[0].reason, "INSUFFICIENT_WORKERS");
  EXPECT_EQ(decisions[1].reason, "QUEUED");
  EXPECT_THAT(decisions[1].message, HasSubstr("behind job large"));
}

TEST(SchedulerTest, AJobThatTheClusterCannotRunIsPassedOver) {
  const v1::JobSpec impossible = Spec(1, 3);
  const v1::JobSpec small = Spec(1, 1);
  const auto decisions = ScheduleJobs({{"impossible", &impossible}, {"small", &small}}, Cluster({kPlenty}, {1, 1}), {});
  EXPECT_EQ(decisions[0].kind, Kind::kWait);
  EXPECT_EQ(decisions[1].kind, Kind::kPlace);
}

TEST(SchedulerTest, RefusesMoreChunksThanAPlacementCanName) {
  v1::JobSpec spec = Spec(1, 1);
  spec.mutable_model()->mutable_mlp()->clear_widths();
  for (uint32_t width : {65536, 65536}) spec.mutable_model()->mutable_mlp()->add_widths(width);
  EXPECT_THAT(PlanArena(spec), StatusIs(absl::StatusCode::kInvalidArgument, "TOO_MANY_CHUNKS"));
}

}  // namespace
}  // namespace paramd
