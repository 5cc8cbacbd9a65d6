// The results of data_plane as a table, as JSON, and as the figures that matter: ratios of rows of one run.
//
// Every number is the median over the rounds. Pure; thread safe.
#ifndef PARAMD_TESTS_BENCH_DATA_PLANE_REPORT_H_
#define PARAMD_TESTS_BENCH_DATA_PLANE_REPORT_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "nlohmann/json.hpp"
#include "tests/bench/data_plane_case.h"
#include "tests/bench/data_plane_measure.h"

namespace paramd {

// A case with its measurement of each round.
struct CaseResult {
  DataPlaneCase measured;
  std::vector<Measurement> rounds;
};

// Of all rounds.
Measurement MedianOf(const CaseResult& result);

// {"rows": [...], "small": [...]} as docs/performance.md describes it.
nlohmann::json ToJson(absl::Span<const CaseResult> results);
std::string ToTable(absl::Span<const CaseResult> results);
// Of a run with a copy counter, whose times mean nothing.
std::string ToCopiesTable(absl::Span<const CaseResult> results);
// One line per ratio whose two rows were measured: its value, the range over the rounds, and the goal.
std::string ToFigures(absl::Span<const CaseResult> results);

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_DATA_PLANE_REPORT_H_
