// Runs one case once: starts its processes, moves the model for about the time asked for, checks the weights.
//
//   ASSIGN_OR_RETURN(Measurement m, Measure({.path = "raw_tcp"}, settings));
//
// The processes are new in every measurement: no round inherits the memory or the connections of another.
#ifndef PARAMD_TESTS_BENCH_DATA_PLANE_MEASURE_H_
#define PARAMD_TESTS_BENCH_DATA_PLANE_MEASURE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/data_plane_case.h"
#include "tests/bench/data_plane_node.h"

namespace paramd {

struct Measurement {
  double gb_per_s = 0;  // Model bytes as fp32, those pushed and those pulled; raw_tcp: bytes sent. 1 GB is 1e9 bytes.
  double cpu_s_per_gb = 0;  // User and system time of all processes of the case.
  // With a copy counter: bytes copied in user space per payload byte that the side sent or received.
  double server_copies = 0;
  double worker_copies = 0;
  SmallResult small;
};

absl::StatusOr<Measurement> Measure(const DataPlaneCase& measured, const DataPlaneSettings& settings);

// What a child process of Measure does: main's exit code. `role` is a path and "server" or "worker", e.g.
// "raw_tcp:server".
int RunRole(const std::string& role);

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_DATA_PLANE_MEASURE_H_
