#include "tests/bench/data_plane_node.h"

#include <dlfcn.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/allocator.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "tests/bench/child_process.h"

namespace paramd {
namespace {

using nlohmann::json;

absl::StatusOr<json> Timed(const absl::Status& status, absl::Time start) {
  RETURN_IF_ERROR(status);
  return json{{"begin_ns", absl::ToUnixNanos(start)}, {"end_ns", absl::GetCurrentTimeNanos()}};
}

// What a preloaded copy counter has counted.
uint64_t CopiedBytes() {
  const auto counter = reinterpret_cast<uint64_t (*)()>(dlsym(RTLD_DEFAULT, "paramd_copied_bytes"));
  return counter == nullptr ? 0 : counter();
}

absl::StatusOr<json> Answer(DataPlaneNode& node, const json& request) {
  const std::string command = request.value("command", "");
  if (command == "setup") {
    const auto config = request["config"].get<NodeConfig>();
    if (config.settings.mallopt && !absl::StartsWith(config.measured.path, "stock_")) ConfigureAllocatorForBulk();
    ASSIGN_OR_RETURN(const std::string address, node.Setup(config));
    return json{{"address", address}};
  }
  if (command == "connect") {
    RETURN_IF_ERROR(node.Connect(request["servers"].get<std::vector<std::string>>()));
    return json::object();
  }
  if (command == "usage") return json{{"cpu_s", absl::ToDoubleSeconds(CpuTime())}, {"copied_bytes", CopiedBytes()}};
  if (command == "run") {
    const absl::Time start = absl::Now();
    return Timed(node.Run(request["steps"].get<int>()), start);
  }
  if (command == "small") {
    ASSIGN_OR_RETURN(const SmallResult result, node.RunSmall(request["seconds"].get<double>()));
    return json{{"messages_per_s", result.messages_per_s}, {"p50_us", result.p50_us}, {"p99_us", result.p99_us}};
  }
  if (command == "verify") {
    RETURN_IF_ERROR(node.Verify());
    return json::object();
  }
  return absl::InvalidArgumentError(absl::StrCat("no command: ", request.dump()));
}

absl::Status WorkersOnly() { return absl::UnimplementedError("a command for workers of another kind of case"); }

}  // namespace

absl::Status DataPlaneNode::Run(int) { return WorkersOnly(); }
absl::StatusOr<SmallResult> DataPlaneNode::RunSmall(double) { return WorkersOnly(); }
absl::Status DataPlaneNode::Verify() { return WorkersOnly(); }

void FillGradient(int worker, absl::Span<float> gradient) {
  Philox random(/*seed=*/worker + 1, RandomStream::kTest);
  for (float& value : gradient) value = 2 * random.Uniform() - 1;
}

SmallResult Summarize(std::vector<double> latencies_us, double messages_per_s) {
  std::sort(latencies_us.begin(), latencies_us.end());
  const auto at = [&](size_t percent) {
    return latencies_us.empty() ? 0 : latencies_us[latencies_us.size() * percent / 100];
  };
  return {.messages_per_s = messages_per_s, .p50_us = at(50), .p99_us = at(99)};
}

int RunNode(DataPlaneNode& node) {
  return AnswerParent([&](const json& request) { return Answer(node, request); });
}

}  // namespace paramd
