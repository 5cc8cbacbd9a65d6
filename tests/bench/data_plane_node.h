// A server or worker of a measured case: one process, driven by data_plane over child_process.h.
//
// Order of calls: Setup; Connect, when all nodes of the case are set up (servers first); then Run as often as wanted,
// on all workers of the case at once; Verify. One thread.
#ifndef PARAMD_TESTS_BENCH_DATA_PLANE_NODE_H_
#define PARAMD_TESTS_BENCH_DATA_PLANE_NODE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"
#include "tests/bench/data_plane_case.h"

namespace paramd {

struct NodeConfig {
  DataPlaneCase measured;
  DataPlaneSettings settings;
  int index = 0;  // Among the case's servers, or its workers.
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeConfig, measured, settings, index)

// 1 KiB messages.
struct SmallResult {
  double messages_per_s = 0;  // Many in flight.
  double p50_us = 0;          // One at a time, 1 KiB there and 1 KiB back.
  double p99_us = 0;
};

class DataPlaneNode {
 public:
  virtual ~DataPlaneNode() = default;

  // Servers answer with where they are reached.
  virtual absl::StatusOr<std::string> Setup(const NodeConfig& config) = 0;
  // `servers` are Setup's answers.
  virtual absl::Status Connect(const std::vector<std::string>& servers) = 0;
  // Workers: moves the model `steps` times to the servers and back.
  virtual absl::Status Run(int steps);
  // Workers of a small case.
  virtual absl::StatusOr<SmallResult> RunSmall(double seconds);
  // Workers: whether the weights are what the steps so far make of them. kDataLoss when not.
  virtual absl::Status Verify();
};

// Every gradient is multiplied by this and subtracted: a power of two, so that with a power of two of workers nothing
// but the additions rounds, and results can be compared bit by bit.
inline constexpr float kLearningRate = 0.0009765625f;

// The gradient that worker `worker` pushes in every step: random values in [-1, 1).
void FillGradient(int worker, absl::Span<float> gradient);

// p50 and p99 of unsorted latencies, and the rate.
SmallResult Summarize(std::vector<double> latencies_us, double messages_per_s);

// Answers data_plane's requests for `node` until the parent is done; returns main's exit code.
int RunNode(DataPlaneNode& node);

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_DATA_PLANE_NODE_H_
