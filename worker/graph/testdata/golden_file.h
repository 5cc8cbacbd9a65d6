// Reads the golden values that make_goldens.py writes, and makes the inputs that it does not store.
//
//   GoldenFile golden = ReadGoldenFile("worker/graph/testdata/ops.txt");
//   ExpectClose(golden.at("relu.3.y"), y, 1e-5, "relu");
#ifndef PARAMD_WORKER_GRAPH_TESTDATA_GOLDEN_FILE_H_
#define PARAMD_WORKER_GRAPH_TESTDATA_GOLDEN_FILE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace paramd {

using GoldenFile = std::map<std::string, std::vector<float>>;

// `path` from the repository's root, a data dependency of the test. Fails the test when it cannot be read.
GoldenFile ReadGoldenFile(const std::string& path);

// wave(seed, n)[i] = sin(1.3 (i + 1) (0.7 + 0.11 seed)) * 0.3, scaled and shifted.
std::vector<float> Wave(int seed, int64_t count, float scale = 1, float shift = 0);

// Every element within `tolerance` times the largest magnitude among `want` (at least 1e-3).
void ExpectClose(absl::Span<const float> want, absl::Span<const float> got, double tolerance, const std::string& what);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_TESTDATA_GOLDEN_FILE_H_
