#include "server/coordinator/options.h"

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
      {"--preparing-timeout", [](Options& o) { o.preparing_timeout = absl::ZeroDuration(); }},
      {"--stopping-timeout", [](Options& o) { o.stopping_timeout = absl::InfiniteDuration(); }},
      {"--saving-timeout", [](Options& o) { o.saving_timeout = absl::ZeroDuration(); }},
      {"--releasing-timeout", [](Options& o) { o.releasing_timeout = absl::ZeroDuration(); }},
      {"--data-dir", [](Options& o) { o.data_dir = ""; }},
      {"--data-dir", [](Options& o) { o.data_dir = "/proc/none"; }},
  };
  for (const Row& row : rows) {
    CoordinatorServerOptions options = Good();
    row.spoil(options);
    const absl::Status status = options.Validate();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(row.flag));
  }
}

}  // namespace
}  // namespace paramd
