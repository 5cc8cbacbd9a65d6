// The job that the paramd paths move: a linear model of exactly the wanted size, plain SGD, one slot per worker; and
// the weights that it must have after some steps, computed without servers.
//
//   ASSIGN_OR_RETURN(BenchJob job, BenchJob::Create(measured, settings));
//   job.Place(servers);                                  // Once their addresses are known.
//   std::vector<float> expected = job.ExpectedChunk(chunk, steps, gradients);
//
// Immutable after Place, thread safe.
#ifndef PARAMD_TESTS_BENCH_PARAMD_JOB_H_
#define PARAMD_TESTS_BENCH_PARAMD_JOB_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "common/partition/codec_plan.h"
#include "nlohmann/json.hpp"
#include "proto/cluster.pb.h"
#include "tests/bench/data_plane_case.h"

namespace paramd {

inline constexpr uint64_t kBenchGeneration = 1;
inline constexpr uint64_t BenchIncarnation(uint32_t worker) { return 1000 + worker; }

// Where a server is reached; what its Setup answers, as JSON.
struct ServerAddress {
  std::string tcp;
  std::string local;
  std::string host_id;
  std::string certificate_authority;  // PEM file; empty: plain text.
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ServerAddress, tcp, local, host_id, certificate_authority)

class BenchJob {
 public:
  // kInvalidArgument when a model of that size cannot be made: it must be a power of two of at least 1 KiB.
  static absl::StatusOr<BenchJob> Create(const DataPlaneCase& measured, const DataPlaneSettings& settings);

  void Place(absl::Span<const ServerAddress> servers);

  const v1::JobAssignment& assignment() const { return assignment_; }
  const ArenaPlan& plan() const { return plan_; }
  const CodecPlan& codecs() const { return codecs_; }
  bool lossless() const { return codecs_.lossless(); }

  // A chunk's weights as a worker receives them after `steps` steps, in each of which worker w pushed its part of
  // gradients[w], an arena. Bit by bit: rate and average are powers of two.
  absl::StatusOr<std::vector<float>> ExpectedChunk(int chunk, int steps,
                                                   absl::Span<const absl::Span<const float>> gradients) const;

 private:
  v1::JobAssignment assignment_;
  ArenaPlan plan_;
  CodecPlan codecs_;
};

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_PARAMD_JOB_H_
