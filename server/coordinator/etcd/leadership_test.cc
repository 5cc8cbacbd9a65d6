#include "server/coordinator/etcd/leadership.h"

#include <atomic>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/testing/etcd_process.h"

namespace paramd {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

class LeadershipTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(
        etcd_, EtcdProcess::Start(absl::StrCat(testing::TempDir(), "/",
                                               testing::UnitTest::GetInstance()->current_test_info()->name(), "-",
                                               absl::ToUnixNanos(absl::Now()))));
    client_ =
        std::make_unique<EtcdClient>(EtcdOptions{.endpoints = {etcd_->endpoint()}, .timeout = absl::Milliseconds(300)});
  }
  Leadership::Campaigned Campaign(const std::string& id, absl::Duration lease = absl::Seconds(20)) {
    auto result = Leadership::Campaign(*client_, Options(id, lease));
    EXPECT_OK(result);
    return result.ok() ? *std::move(result) : Leadership::Campaigned();
  }
  static LeadershipOptions Options(const std::string& id, absl::Duration lease) {
    return {.prefix = "/t/", .lease = lease, .self = {absl::StrCat(id, ".example:7070"), id}};
  }

  std::unique_ptr<EtcdProcess> etcd_;
  std::unique_ptr<EtcdClient> client_;
};

TEST_F(LeadershipTest, OneLeadsAndTheOthersKnowWho) {
  const auto first = Campaign("first");
  ASSERT_NE(first.leadership, nullptr);
  EXPECT_TRUE(first.leadership->valid());
  const auto second = Campaign("second");
  EXPECT_EQ(second.leadership, nullptr);
  EXPECT_EQ(second.leader.address, "first.example:7070");
  EXPECT_EQ(second.leader.id, "first");
}

TEST_F(LeadershipTest, ResigningLetsTheNextOneIn) {
  const auto first = Campaign("first");
  ASSERT_NE(first.leadership, nullptr);
  first.leadership->Resign();
  EXPECT_FALSE(first.leadership->valid());
  const auto second = Campaign("second");
  ASSERT_NE(second.leadership, nullptr);
  EXPECT_GT(second.leadership->term(), first.leadership->term());
  first.leadership->Resign();  // Again: the key is the second's now.
  EXPECT_EQ(Campaign("third").leader.id, "second");
}

TEST_F(LeadershipTest, IsRenewedForAsLongAsItIsWanted) {
  const auto first = Campaign("first", absl::Seconds(2));
  ASSERT_NE(first.leadership, nullptr);
  EXPECT_FALSE(first.leadership->WaitUntilLost(absl::Seconds(5)));
  EXPECT_EQ(Campaign("second").leader.id, "first");
}

TEST_F(LeadershipTest, IsLostWhenEtcdIsAway) {
  const auto first = Campaign("first", absl::Seconds(2));
  ASSERT_NE(first.leadership, nullptr);
  etcd_->Kill();
  ASSERT_TRUE(first.leadership->WaitUntilLost(kPatience));
  EXPECT_FALSE(first.leadership->valid());
  EXPECT_THAT(first.leadership->lost(), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_THAT(std::string(first.leadership->lost().message()), testing::HasSubstr("etcd at 127.0.0.1:"));
  EXPECT_THAT(Leadership::Campaign(*client_, Options("second", absl::Seconds(2))),
              StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  ASSERT_OK(etcd_->Restart());
}

TEST_F(LeadershipTest, EndsByItsOwnClockBeforeEtcdEndsIt) {
  auto now = std::make_shared<std::atomic<int64_t>>(100);
  LeadershipOptions options = Options("first", absl::Seconds(20));
  options.now = [now] { return absl::Seconds(now->load()); };
  ASSERT_OK_AND_ASSIGN(const auto first, Leadership::Campaign(*client_, options));
  ASSERT_NE(first.leadership, nullptr);
  EXPECT_EQ(first.leadership->remaining(), absl::Seconds(18));
  *now = 117;
  EXPECT_TRUE(first.leadership->valid());
  *now = 118;
  EXPECT_FALSE(first.leadership->valid());
  EXPECT_TRUE(first.leadership->WaitUntilLost(absl::ZeroDuration()));
  *now = 100;  // For good.
  EXPECT_FALSE(first.leadership->valid());
  EXPECT_EQ(Campaign("second").leader.id, "first");  // etcd still has the key.
}

TEST_F(LeadershipTest, IsLostWhenSomebodyFindsOut) {
  const auto first = Campaign("first");
  ASSERT_NE(first.leadership, nullptr);
  first.leadership->Lose(NotLeaderError("deposed", "second:1"));
  EXPECT_TRUE(first.leadership->WaitUntilLost(absl::ZeroDuration()));
  EXPECT_EQ(GetErrorMetadata(first.leadership->lost())["leader"], "second:1");
}

TEST_F(LeadershipTest, IsLostWhenTheLeaseIsRevoked) {
  const auto first = Campaign("first", absl::Seconds(2));
  ASSERT_NE(first.leadership, nullptr);
  etcdserverpb::RangeRequest request;
  request.set_key("/t/leader");
  ASSERT_OK_AND_ASSIGN(const etcdserverpb::RangeResponse key, client_->Range(request));
  ASSERT_EQ(key.kvs_size(), 1);
  EXPECT_EQ(key.kvs(0).create_revision(), first.leadership->term());
  ASSERT_OK(client_->LeaseRevoke(key.kvs(0).lease()));
  ASSERT_TRUE(first.leadership->WaitUntilLost(kPatience));
  EXPECT_THAT(std::string(first.leadership->lost().message()), testing::HasSubstr("lease in etcd has ended"));
}

}  // namespace
}  // namespace paramd
