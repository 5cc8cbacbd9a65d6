// Trains a synchronous job in this process on one thread, without RPC: the baseline that the cost of communication is
// measured against, and a way to try a job's settings.
//
//   bazel run //tests/bench:local_training -- $PWD/deploy/examples/gpt-austen.yaml
//
// Prints the loss every 50 steps, then tokens (or examples) per second and the SHA-256 of the weights.
#include <chrono>
#include <cstdio>
#include <numeric>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "tests/framework/local_trainer.h"

namespace paramd {
namespace {

constexpr int kReportEvery = 50;

absl::Status Run(const char* path) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, 1 << 20));
  ASSIGN_OR_RETURN(v1::JobSpec spec, ParseJobSpec(text));
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(LocalResult result, TrainLocally(spec));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (size_t i = 0; i < result.losses.size(); i += kReportEvery) {
    const size_t end = std::min(result.losses.size(), i + kReportEvery);
    const double mean = std::accumulate(result.losses.begin() + i, result.losses.begin() + end, 0.0) / (end - i);
    std::printf("steps %zu..%zu: mean loss %.4f\n", i, end - 1, mean);
  }
  const double per_sample = spec.model().has_gpt2() ? spec.model().gpt2().context() : 1;
  const double units = per_sample * spec.training().steps() * spec.training().slots() * spec.training().micro_batch();
  std::printf("%.0f %s/s weights_sha256=%s\n", units / seconds, spec.model().has_gpt2() ? "tokens" : "examples",
              result.weights_sha256.c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace paramd

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: local_training JOB.yaml\n");
    return 2;
  }
  const absl::Status status = paramd::Run(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "local_training: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
