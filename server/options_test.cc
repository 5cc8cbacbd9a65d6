#include "server/options.h"

#include <fstream>
#include <string>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

ServerOptions Good() {
  ServerOptions options;
  options.output_dir = testing::TempDir() + "/output";
  return options;
}

TEST(OptionsTest, DefaultsAreValid) {
  EXPECT_OK(Good().Validate());
  EXPECT_NEAR(Good().MemoryLimitBytes(), PhysicalMemoryBytes() * 0.8, 10);
}

TEST(OptionsTest, JobsNeedNotBeKeptWithoutALease) {
  ServerOptions options = Good();
  options.orphan_timeout = absl::ZeroDuration();
  EXPECT_OK(options.Validate());
}

TEST(OptionsTest, NamesTheBadFlag) {
  const auto refused = [](auto change, const char* flag) {
    ServerOptions options = Good();
    change(options);
    const absl::Status status = options.Validate();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(flag));
  };
  using O = ServerOptions;
  refused([](O& o) { o.listen = "nowhere"; }, "--listen");
  refused([](O& o) { o.metrics_listen = "host:99999"; }, "--metrics-listen");
  refused([](O& o) { o.coordinator = "host:0"; }, "--coordinator");
  refused([](O& o) { o.advertise = "x"; }, "--advertise");
  refused([](O& o) { o.node_id = "a b"; }, "--node-id");
  refused([](O& o) { o.threads = -1; }, "--threads");
  refused([](O& o) { o.memory_limit = "lots"; }, "--memory-limit");
  refused([](O& o) { o.request_timeout = absl::ZeroDuration(); }, "--request-timeout: must be 1ms to 24h, got 0");
  refused([](O& o) { o.request_timeout = absl::Hours(25); }, "--request-timeout");
  refused([](O& o) { o.request_timeout = absl::InfiniteDuration(); }, "--request-timeout");
  refused([](O& o) { o.orphan_timeout = -absl::Seconds(1); }, "--orphan-timeout");
  refused([](O& o) { o.orphan_timeout = absl::Hours(25); }, "--orphan-timeout");
  refused([](O& o) { o.local_socket.place = "relative/s"; }, "--local-socket");
  refused([](O& o) { o.local_socket.place = "/" + std::string(200, 'x'); }, "--local-socket");
  refused([](O& o) { o.tls.ca = "/no/such/file"; }, "--tls-cert: missing");
}

TEST(OptionsTest, OutputDirectoryMustBeOne) {
  ServerOptions options = Good();
  options.output_dir = testing::TempDir() + "/a-file";
  std::ofstream(options.output_dir) << "x";
  EXPECT_THAT(options.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
  options.output_dir = testing::TempDir() + "/a-file/below";
  EXPECT_THAT(options.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
}

}  // namespace
}  // namespace paramd
