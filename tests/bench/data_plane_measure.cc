#include "tests/bench/data_plane_measure.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tests/bench/child_process.h"
#include "tests/bench/data_plane_raw.h"
#include "tests/bench/paramd_server_node.h"
#include "tests/bench/paramd_worker_node.h"
#include "tests/bench/stock_server.h"
#include "tests/bench/stock_worker.h"

namespace paramd {
namespace {

using nlohmann::json;

constexpr int kWarmUpSteps = 2;       // The memory of both sides is touched for the first time.
constexpr int kCalibrationSteps = 2;  // How long a step takes.
constexpr int kMaxSteps = 2000;

using Children = std::vector<std::unique_ptr<ChildProcess>>;

// Of all processes of a case.
struct Usage {
  double cpu_s = 0;
  double server_copied_bytes = 0;
  double worker_copied_bytes = 0;
};

// The processes of a case.
class Nodes {
 public:
  Nodes(const DataPlaneCase& measured, const DataPlaneSettings& settings) : measured_(measured), settings_(settings) {}

  absl::Status Start() {
    std::vector<std::string> addresses;
    for (int i = 0; i < measured_.servers; ++i) {
      ASSIGN_OR_RETURN(std::string address, StartNode("server", i, servers_));
      addresses.push_back(std::move(address));
    }
    for (int i = 0; i < measured_.workers; ++i) RETURN_IF_ERROR(StartNode("worker", i, workers_).status());
    const json connect = {{"command", "connect"}, {"servers", addresses}};
    for (const auto& server : servers_) RETURN_IF_ERROR(server->Call(connect).status());
    return OnWorkers(connect).status();
  }

  // Calls all workers at once.
  absl::StatusOr<std::vector<json>> OnWorkers(const json& request) {
    std::vector<json> answers;
    for (const auto& worker : workers_) RETURN_IF_ERROR(worker->Send(request));
    for (const auto& worker : workers_) {
      ASSIGN_OR_RETURN(json answer, worker->Receive());
      answers.push_back(std::move(answer));
    }
    return answers;
  }

  absl::StatusOr<Usage> UsageSoFar() {
    Usage usage;
    RETURN_IF_ERROR(AddUsage(servers_, usage.cpu_s, usage.server_copied_bytes));
    RETURN_IF_ERROR(AddUsage(workers_, usage.cpu_s, usage.worker_copied_bytes));
    return usage;
  }

  // Wall seconds from the first worker's start to the last one's end.
  absl::StatusOr<double> RunSteps(int steps) {
    ASSIGN_OR_RETURN(const std::vector<json> answers, OnWorkers({{"command", "run"}, {"steps", steps}}));
    int64_t begin = std::numeric_limits<int64_t>::max(), end = 0;
    for (const json& answer : answers) {
      begin = std::min(begin, answer.value("begin_ns", int64_t{0}));
      end = std::max(end, answer.value("end_ns", int64_t{0}));
    }
    return 1e-9 * static_cast<double>(end - begin);
  }

 private:
  static absl::Status AddUsage(const Children& children, double& cpu_s, double& copied_bytes) {
    for (const auto& child : children) {
      ASSIGN_OR_RETURN(const json answer, child->Call({{"command", "usage"}}));
      cpu_s += answer.value("cpu_s", 0.0);
      copied_bytes += answer.value("copied_bytes", 0.0);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> StartNode(const char* side, int index, Children& children) {
    ChildOptions options = {.arguments = {absl::StrCat("--role=", measured_.path, ":", side)}};
    if (!settings_.copy_counter.empty()) options.environment = {absl::StrCat("LD_PRELOAD=", settings_.copy_counter)};
    ASSIGN_OR_RETURN(auto child, ChildProcess::Start(options));
    const NodeConfig config = {.measured = measured_, .settings = settings_, .index = index};
    ASSIGN_OR_RETURN(const json answer, child->Call({{"command", "setup"}, {"config", config}}));
    children.push_back(std::move(child));
    return answer.value("address", "");
  }

  const DataPlaneCase& measured_;
  const DataPlaneSettings& settings_;
  Children servers_;  // Outlive the workers.
  Children workers_;
};

absl::StatusOr<Measurement> MeasureThroughput(Nodes& nodes, const DataPlaneCase& measured,
                                              const DataPlaneSettings& settings) {
  RETURN_IF_ERROR(nodes.RunSteps(kWarmUpSteps).status());
  ASSIGN_OR_RETURN(const double calibration, nodes.RunSteps(kCalibrationSteps));
  const double wanted = settings.seconds / std::max(calibration / kCalibrationSteps, 1e-6);
  const int steps = static_cast<int>(std::clamp(wanted, 1.0, double{kMaxSteps}));
  ASSIGN_OR_RETURN(const Usage before, nodes.UsageSoFar());
  ASSIGN_OR_RETURN(const double seconds, nodes.RunSteps(steps));
  ASSIGN_OR_RETURN(const Usage after, nodes.UsageSoFar());
  RETURN_IF_ERROR(nodes.OnWorkers({{"command", "verify"}}).status());
  const int directions = measured.path == "raw_tcp" ? 1 : 2;
  const double bytes = static_cast<double>(settings.model_bytes) * steps * directions * measured.workers;
  return Measurement{.gb_per_s = 1e-9 * bytes / seconds,
                     .cpu_s_per_gb = (after.cpu_s - before.cpu_s) / (1e-9 * bytes),
                     .server_copies = (after.server_copied_bytes - before.server_copied_bytes) / bytes,
                     .worker_copies = (after.worker_copied_bytes - before.worker_copied_bytes) / bytes};
}

absl::StatusOr<Measurement> MeasureSmall(Nodes& nodes, const DataPlaneSettings& settings) {
  ASSIGN_OR_RETURN(const std::vector<json> answers,
                   nodes.OnWorkers({{"command", "small"}, {"seconds", settings.seconds}}));
  const json& answer = answers[0];
  return Measurement{.small = {.messages_per_s = answer.value("messages_per_s", 0.0),
                               .p50_us = answer.value("p50_us", 0.0),
                               .p99_us = answer.value("p99_us", 0.0)}};
}

}  // namespace

absl::StatusOr<Measurement> Measure(const DataPlaneCase& measured, const DataPlaneSettings& settings) {
  Nodes nodes(measured, settings);
  RETURN_IF_ERROR(nodes.Start());
  return measured.small ? MeasureSmall(nodes, settings) : MeasureThroughput(nodes, measured, settings);
}

int RunRole(const std::string& role) {
  using MakeNode = std::unique_ptr<DataPlaneNode> (*)();
  struct Path {
    const char* name;
    MakeNode server;
    MakeNode worker;
  };
  static constexpr Path kPaths[] = {
      {"raw_tcp", RawServer, RawWorker},
      {"stock_unary", StockServer, StockUnaryWorker},
      {"stock_stream", StockServer, StockStreamWorker},
      {"tuned_stream", StockServer, StockStreamWorker},
      {"tuned_unix", StockServer, StockStreamWorker},
      {"paramd_tcp", ParamdServerNode, ParamdWorkerNode},
      {"paramd_unix", ParamdServerNode, ParamdWorkerNode},
      {"paramd_shm", ParamdServerNode, ParamdWorkerNode},
  };
  for (const Path& path : kPaths) {
    if (role == absl::StrCat(path.name, ":server")) return RunNode(*path.server());
    if (role == absl::StrCat(path.name, ":worker")) return RunNode(*path.worker());
  }
  std::fprintf(stderr, "data_plane: no role %s\n", role.c_str());
  return 2;
}

}  // namespace paramd
