#include "server/coordinator/membership.h"

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

v1::Register Worker(const std::string& id, uint64_t incarnation) {
  v1::Register r;
  r.set_node_id(id);
  r.set_role(v1::NODE_ROLE_WORKER);
  r.set_incarnation(incarnation);
  r.set_address("127.0.0.1:1");
  r.set_job_capacity(1);
  r.set_protocol(kClusterProtocol);
  return r;
}

class MembershipTest : public testing::Test {
 protected:
  FakeClock clock_;
  Membership membership_{clock_, {.lease = absl::Seconds(10), .max_nodes = 3}};
};

TEST_F(MembershipTest, LeaseIsKeptByHeartbeatsAndLostWithoutThem) {
  ASSERT_OK(membership_.Register(Worker("w", 1)));
  clock_.Advance(absl::Seconds(9));
  ASSERT_OK(membership_.Renew("w", 1, 5));
  clock_.Advance(absl::Seconds(9));
  EXPECT_TRUE(membership_.Expire().lost.empty());
  EXPECT_EQ(membership_.Liveness("w", 1), NodeLiveness::kAlive);
  clock_.Advance(absl::Seconds(2));
  EXPECT_THAT(membership_.Expire().lost, testing::ElementsAre("w"));
  EXPECT_EQ(membership_.Liveness("w", 1), NodeLiveness::kGone);
  EXPECT_THAT(membership_.Renew("w", 1, 5), StatusIs(absl::StatusCode::kFailedPrecondition, "LEASE_LOST"));
  ASSERT_OK(membership_.Register(Worker("w", 1)));  // The same process may come back.
  EXPECT_EQ(membership_.Liveness("w", 1), NodeLiveness::kAlive);
}

TEST_F(MembershipTest, NewerIncarnationReplacesOlderAndOlderIsRefused) {
  ASSERT_OK(membership_.Register(Worker("w", 5)));
  EXPECT_EQ(membership_.Liveness("w", 6), NodeLiveness::kUnknown);
  ASSERT_OK(membership_.Register(Worker("w", 6)));
  EXPECT_EQ(membership_.Liveness("w", 5), NodeLiveness::kGone);
  EXPECT_EQ(membership_.Liveness("w", 6), NodeLiveness::kAlive);
  EXPECT_THAT(membership_.Register(Worker("w", 5)),
              StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
  EXPECT_THAT(membership_.Renew("w", 5, 0), StatusIs(absl::StatusCode::kFailedPrecondition, "LEASE_LOST"));
  membership_.Leave("w", 5);  // Of the old one: no effect.
  EXPECT_EQ(membership_.Liveness("w", 6), NodeLiveness::kAlive);
}

TEST_F(MembershipTest, NodesThatLeftAreForgottenAfterADay) {
  ASSERT_OK(membership_.Register(Worker("w", 1)));
  membership_.Leave("w", 1);
  EXPECT_EQ(membership_.Find("w")->state, v1::NODE_STATE_LEFT);
  clock_.Advance(absl::Hours(24));
  EXPECT_TRUE(membership_.Expire().forgotten.empty());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(membership_.Expire().forgotten, testing::ElementsAre("w"));
  EXPECT_EQ(membership_.Find("w"), nullptr);
}

TEST_F(MembershipTest, ShiftedLeasesLastLonger) {
  ASSERT_OK(membership_.Register(Worker("w", 1)));
  clock_.Advance(absl::Minutes(5));
  membership_.ShiftLeases(absl::Minutes(5));
  EXPECT_TRUE(membership_.Expire().lost.empty());
}

TEST_F(MembershipTest, RefusesBadRegistrations) {
  struct Row {
    const char* what;
    void (*spoil)(v1::Register&);
    absl::StatusCode code;
    const char* reason;
  };
  const Row rows[] = {
      {"empty id", [](v1::Register& r) { r.clear_node_id(); }, absl::StatusCode::kInvalidArgument,
       "INVALID_REGISTRATION"},
      {"id with slash", [](v1::Register& r) { r.set_node_id("a/b"); }, absl::StatusCode::kInvalidArgument,
       "INVALID_REGISTRATION"},
      {"no role", [](v1::Register& r) { r.clear_role(); }, absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION"},
      {"no incarnation", [](v1::Register& r) { r.clear_incarnation(); }, absl::StatusCode::kInvalidArgument,
       "INVALID_REGISTRATION"},
      {"no address", [](v1::Register& r) { r.clear_address(); }, absl::StatusCode::kInvalidArgument,
       "INVALID_REGISTRATION"},
      {"no capacity", [](v1::Register& r) { r.clear_job_capacity(); }, absl::StatusCode::kInvalidArgument,
       "INVALID_REGISTRATION"},
      {"server without memory", [](v1::Register& r) { r.set_role(v1::NODE_ROLE_SERVER); },
       absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION"},
      {"local address of a worker", [](v1::Register& r) { r.set_local_address("unix:/run/s"); },
       absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION"},
      {"relative local address",
       [](v1::Register& r) {
         r.set_role(v1::NODE_ROLE_SERVER);
         r.set_memory_limit_bytes(1);
         r.set_local_address("unix:s");
       },
       absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION"},
      {"local address with a zero",
       [](v1::Register& r) {
         r.set_role(v1::NODE_ROLE_SERVER);
         r.set_memory_limit_bytes(1);
         r.set_local_address(std::string("unix:/a\0b", 9));
       },
       absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION"},
      {"long host id", [](v1::Register& r) { r.set_host_id(std::string(2000, 'x')); },
       absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION"},
      {"long text", [](v1::Register& r) { r.set_device(std::string(2000, 'x')); }, absl::StatusCode::kInvalidArgument,
       "INVALID_REGISTRATION"},
      {"old protocol", [](v1::Register& r) { r.set_protocol(0); }, absl::StatusCode::kFailedPrecondition,
       "CLIENT_TOO_OLD"},
      {"new protocol", [](v1::Register& r) { r.set_protocol(99); }, absl::StatusCode::kFailedPrecondition,
       "CLIENT_TOO_NEW"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    v1::Register registration = Worker("w", 1);
    row.spoil(registration);
    EXPECT_THAT(membership_.Register(registration), StatusIs(row.code, row.reason));
  }
  ASSERT_OK(membership_.Register(Worker("w", 1)));
  v1::Register other_role = Worker("w", 1);
  other_role.set_role(v1::NODE_ROLE_SERVER);
  other_role.set_memory_limit_bytes(1);
  EXPECT_THAT(membership_.Register(other_role), StatusIs(absl::StatusCode::kAlreadyExists, "NODE_ID_IN_USE"));
}

TEST_F(MembershipTest, IsBounded) {
  for (const char* id : {"a", "b", "c"}) ASSERT_OK(membership_.Register(Worker(id, 1)));
  EXPECT_THAT(membership_.Register(Worker("d", 1)), StatusIs(absl::StatusCode::kResourceExhausted, "TOO_MANY_NODES"));
  ASSERT_OK(membership_.Register(Worker("c", 2)));
}

}  // namespace
}  // namespace paramd
