#include "worker/options.h"

#include <functional>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(WorkerOptionsTest, DefaultsAreValid) { EXPECT_OK(WorkerOptions().Validate()); }

TEST(WorkerOptionsTest, EveryBadFlagIsNamed) {
  struct Case {
    std::string flag;
    std::function<void(WorkerOptions&)> change;
  };
  const std::vector<Case> cases = {
      {"--listen", [](WorkerOptions& o) { o.listen = "nowhere"; }},
      {"--metrics-listen", [](WorkerOptions& o) { o.metrics_listen = "1.2.3.4:99999"; }},
      {"--coordinator", [](WorkerOptions& o) { o.coordinator = "host:0"; }},
      {"--coordinator", [](WorkerOptions& o) { o.coordinator = ""; }},
      {"--advertise", [](WorkerOptions& o) { o.advertise = "host:0"; }},
      {"--node-id", [](WorkerOptions& o) { o.node_id = "two words"; }},
      {"--node-id", [](WorkerOptions& o) { o.node_id = std::string(129, 'a'); }},
      {"--threads", [](WorkerOptions& o) { o.threads = 0; }},
      {"--job-capacity", [](WorkerOptions& o) { o.job_capacity = 65; }},
  };
  for (const Case& c : cases) {
    WorkerOptions options;
    c.change(options);
    const absl::Status status = options.Validate();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG")) << c.flag;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(c.flag + ": "));
  }
}

}  // namespace
}  // namespace paramd
