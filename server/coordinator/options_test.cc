#include "server/coordinator/options.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

CoordinatorServerOptions Good() {
  CoordinatorServerOptions options;
  options.data_dir = testing::TempDir() + "/options-test/data";
  return options;
}

TEST(CoordinatorServerOptionsTest, DefaultsAreGoodAndTheDirectoryIsMade) {
  EXPECT_OK(Good().Validate());
  EXPECT_OK(IsWritableDirectory(Good().data_dir));
  EXPECT_EQ(Good().EffectiveHeartbeat(), absl::Seconds(2));
}

CoordinatorServerOptions& Etcd(CoordinatorServerOptions& options) {
  options.store = "etcd:a:1,[::1]:2";
  return options;
}

TEST(CoordinatorServerOptionsTest, NamesTheBadFlag) {
  struct Row {
    const char* flag;
    void (*spoil)(CoordinatorServerOptions&);
  };
  using Options = CoordinatorServerOptions;
  const Row rows[] = {
      {"--listen", [](Options& o) { o.listen = "nonsense"; }},
      {"--metrics-listen", [](Options& o) { o.metrics_listen = "127.0.0.1:99999"; }},
      {"--advertise", [](Options& o) { o.advertise = ":"; }},
      {"--node-id", [](Options& o) { o.node_id = "a b"; }},
      {"--lease", [](Options& o) { o.lease = absl::Milliseconds(1); }},
      {"--heartbeat", [](Options& o) { o.heartbeat = o.lease; }},
      {"--restart-grace", [](Options& o) { o.restart_grace = -absl::Seconds(1); }},
      {"--workers-timeout", [](Options& o) { o.workers_timeout = absl::ZeroDuration(); }},
      {"--preparing-timeout", [](Options& o) { o.preparing_timeout = absl::ZeroDuration(); }},
      {"--stopping-timeout", [](Options& o) { o.stopping_timeout = absl::InfiniteDuration(); }},
      {"--saving-timeout", [](Options& o) { o.saving_timeout = absl::ZeroDuration(); }},
      {"--releasing-timeout", [](Options& o) { o.releasing_timeout = absl::ZeroDuration(); }},
      {"--data-dir", [](Options& o) { o.data_dir = ""; }},
      {"--data-dir", [](Options& o) { o.data_dir = "/proc/none"; }},
      {"--store", [](Options& o) { o.store = "postgres:x"; }},
      {"--store", [](Options& o) { o.store = "sqlite:"; }},
      {"--store", [](Options& o) { o.store = "sqlite:/proc/none/paramd.db"; }},
      {"--store", [](Options& o) { o.store = "etcd:"; }},
      {"--store", [](Options& o) { o.store = "etcd:localhost"; }},
      {"--store", [](Options& o) { o.store = "etcd:a:1,b"; }},
      {"--store", [](Options& o) { o.store = "etcd:a:1,b:2,"; }},
      {"--store", [](Options& o) { o.store = "etcd:a:1,b:2,a:1"; }},
      {"--store", [](Options& o) { o.store = "etcd:a:0"; }},
      {"--etcd-prefix", [](Options& o) { Etcd(o).etcd_prefix = "paramd"; }},
      {"--etcd-prefix", [](Options& o) { Etcd(o).etcd_prefix = "/"; }},
      {"--etcd-prefix", [](Options& o) { Etcd(o).etcd_prefix = "/" + std::string(256, 'x') + "/"; }},
      {"--leader-lease", [](Options& o) { Etcd(o).leader_lease = absl::Seconds(1); }},
      {"--leader-lease", [](Options& o) { Etcd(o).leader_lease = absl::Milliseconds(2500); }},
      {"--leader-lease", [](Options& o) { Etcd(o).leader_lease = absl::Seconds(6); }},  // Of a lease of 10 s.
  };
  for (const Row& row : rows) {
    CoordinatorServerOptions options = Good();
    row.spoil(options);
    const absl::Status status = options.Validate();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(row.flag));
  }
}

TEST(CoordinatorServerOptionsTest, ReadsWhereTheJobsAre) {
  CoordinatorServerOptions options = Good();
  ASSERT_OK_AND_ASSIGN(StoreLocation location, options.ParseStore());
  EXPECT_EQ(location.sqlite_path, options.data_dir + "/paramd.db");
  options.store = absl::StrCat("sqlite:", options.data_dir, "/other.db");
  EXPECT_OK(options.Validate());
  ASSERT_OK_AND_ASSIGN(location, options.ParseStore());
  EXPECT_EQ(location.sqlite_path, options.data_dir + "/other.db");
  Etcd(options).data_dir = "";  // Not needed.
  EXPECT_OK(options.Validate());
  ASSERT_OK_AND_ASSIGN(location, options.ParseStore());
  EXPECT_EQ(location.sqlite_path, "");
  EXPECT_THAT(location.etcd_endpoints, testing::ElementsAre("a:1", "[::1]:2"));
}

}  // namespace
}  // namespace paramd
