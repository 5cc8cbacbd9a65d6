// Trains a synchronous job in this process on one thread, without RPC: the baseline that the cost of communication is
// measured against, and a way to try a job's settings.
//
//   bazel run //tests/bench:local_training -- $PWD/deploy/examples/gpt-austen.yaml
//   ... --evaluate --set communication.push_codec=topk --set resources.workers=4
//
// Prints the loss every 50 steps, then tokens (or examples) per second, the SHA-256 of the weights, how much the codecs
// of the job save of what its workers push, and the held-out loss if asked for.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/spec_overrides.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "tests/framework/local_trainer.h"

namespace paramd {
namespace {

constexpr size_t kReportEvery = 50;

struct Flags {
  std::string job;
  std::vector<std::string> overrides;
  LocalOptions options;
};

void Print(const v1::JobSpec& spec, const Flags& flags, const LocalResult& result, double seconds) {
  for (size_t i = 0; i < result.losses.size(); i += kReportEvery) {
    const size_t end = std::min(result.losses.size(), i + kReportEvery);
    const double mean = std::accumulate(result.losses.begin() + i, result.losses.begin() + end, 0.0) / (end - i);
    std::printf("steps %zu..%zu: mean loss %.4f\n", i, end - 1, mean);
  }
  const double per_sample = spec.model().has_gpt2() ? spec.model().gpt2().context() : 1;
  const double units = per_sample * spec.training().steps() * spec.training().slots() * spec.training().micro_batch();
  std::printf("%.0f %s/s weights_sha256=%s\n", units / seconds, spec.model().has_gpt2() ? "tokens" : "examples",
              result.weights_sha256.c_str());
  std::printf("pushed %.3f MB, 1/%.1f of fp32\n", 1e-6 * static_cast<double>(result.pushed_bytes),
              static_cast<double>(result.raw_bytes) / static_cast<double>(result.pushed_bytes));
  if (flags.options.evaluate) std::printf("validation loss %.4f\n", result.validation_loss);
}

absl::Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(flags.job, 1 << 20));
  ASSIGN_OR_RETURN(text, ApplyOverrides(text, flags.overrides));
  ASSIGN_OR_RETURN(v1::JobSpec spec, ParseJobSpec(text));
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const LocalResult result, TrainLocally(spec, flags.options));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Print(spec, flags, result, seconds);
  return absl::OkStatus();
}

}  // namespace
}  // namespace paramd

int main(int argc, char** argv) {
  paramd::Flags flags;
  CLI::App app("Trains a synchronous job in this process, as its cluster would.", "local_training");
  app.add_option("job", flags.job, "Job specification")->required();
  app.add_option("--set", flags.overrides, "Change a field: path=value (repeatable)");
  app.add_option("--workers", flags.options.workers, "Workers whose pushes are encoded (default: resources.workers)");
  app.add_flag("--evaluate", flags.options.evaluate, "Print the loss on the held-out split");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = paramd::Run(flags);
  if (!status.ok()) std::fprintf(stderr, "local_training: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
