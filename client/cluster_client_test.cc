// Several coordinators, of which one leads.
#include "client/cluster_client.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/fake_cluster.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "common/rpc/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(20);

grpc::Status Standby(const std::string& leader = "") {
  ErrorMetadata metadata;
  if (!leader.empty()) metadata["leader"] = leader;
  return ToGrpcStatus(MakeError(absl::StatusCode::kUnavailable, "NOT_LEADER", "this is a standby", metadata));
}

class ClusterClientTest : public testing::Test {
 protected:
  ClusterClientTest() {
    v1::Job job;
    job.set_job_id("a-1");
    leader_.SetJob(job);
  }
  std::string Both() const { return absl::StrCat(standby_.address(), ",", leader_.address()); }

  FakeCluster standby_;
  FakeCluster leader_;
};

TEST_F(ClusterClientTest, GoesFromAStandbyToTheLeader) {
  standby_.FailWith(Standby());
  ClusterClient client(Both(), kTimeout);
  EXPECT_OK(client.GetJob("a-1"));
  EXPECT_EQ(client.address(), leader_.address());
  EXPECT_OK(client.CancelJob("a-1", false));
  EXPECT_THAT(client.GetJob("b-2"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ClusterClientTest, FollowsAStandbyThatIsAskedAlone) {
  standby_.FailWith(Standby(leader_.address()));
  ClusterClient client(standby_.address(), kTimeout);
  EXPECT_OK(client.GetJob("a-1"));
  EXPECT_EQ(client.address(), leader_.address());
}

TEST_F(ClusterClientTest, PassesByOneThatIsDown) {
  ClusterClient client(absl::StrCat("127.0.0.1:1,", leader_.address()), kTimeout);
  EXPECT_OK(client.GetJob("a-1"));
}

TEST_F(ClusterClientTest, WaitsForALeaderWithinTheRequestTimeout) {
  standby_.FailWith(Standby());
  ClusterClient client(absl::StrCat(standby_.address(), ",127.0.0.1:1"), absl::Milliseconds(500));
  const absl::Time start = absl::Now();
  const absl::Status status = client.GetJob("a-1").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "COORDINATOR_UNREACHABLE"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(ClusterClientTest, SaysWhatTheOnlyStandbySays) {
  standby_.FailWith(Standby());
  ClusterClient client(standby_.address(), absl::Milliseconds(300));
  EXPECT_THAT(std::string(client.GetJob("a-1").status().message()), HasSubstr("this is a standby"));
}

TEST_F(ClusterClientTest, SubmissionsThatMayBeRepeatedHaveARequestId) {
  v1::SubmitJobRequest request;
  ClusterClient several(absl::StrCat(leader_.address(), ",127.0.0.1:1"), kTimeout);
  EXPECT_OK(several.SubmitJob(request));
  EXPECT_NE(leader_.last_submit().request_id(), "");
  request.set_request_id("mine");
  EXPECT_OK(several.SubmitJob(request));
  EXPECT_EQ(leader_.last_submit().request_id(), "mine");
}

}  // namespace
}  // namespace paramd
