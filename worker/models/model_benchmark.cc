// Speed of forward + backward on one thread, for two GPT-2 shapes and an MLP.
//
//   bazel run -c opt //worker/models:model_benchmark
//
// GFLOP/s counts the matrix products only, causal attention as half of the full one.
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "common/model/initialize.h"
#include "common/model/parameter_layout.h"
#include "common/partition/arena_plan.h"
#include "worker/device/cpu/cpu_device.h"
#include "worker/models/model_program.h"

namespace paramd {
namespace {

class Ignore final : public ParameterGate, public GradientSink {
 public:
  absl::Status WaitForParameter(int) override { return absl::OkStatus(); }
  absl::Status GradientFinal(int) override { return absl::OkStatus(); }
};

double MatMulFlops(const v1::Gpt2Model& m, double rows) {
  const double hidden = m.hidden();
  const double layer = 4 * hidden * hidden + 2 * hidden * m.ffn_hidden();
  const double attention = hidden * m.context();  // Scores and values, half of 2 * hidden * context.
  return 6 * rows * (m.layers() * (layer + attention) + hidden * m.vocab_size());
}

void RunSteps(benchmark::State& state, const v1::ModelSpec& model, const Batch& batch) {
  auto device = CreateCpuDevice({.threads = 1}).value();
  const ArenaPlan plan = ArenaPlan::Create(ParameterLayout(model).value(), 262144).value();
  auto program = CompileModel(*device, model, plan, {.batch_size = batch.examples}).value();
  std::vector<float> weights(plan.arena_elements()), gradients(plan.arena_elements());
  InitializeArenaRange(plan, 1, 0, absl::MakeSpan(weights));
  Ignore ignore;
  for (auto _ : state) {
    auto sums = program->ForwardBackward(batch, {.seed = 1}, weights, absl::MakeSpan(gradients), ignore, ignore);
    if (!sums.ok()) return state.SkipWithError(sums.status().ToString().c_str());
  }
  state.counters["memory_MiB"] = static_cast<double>(program->memory_bytes()) / (1 << 20);
}

// Arguments: layers, heads, hidden, context, batch, dropout in percent.
void BM_Gpt2(benchmark::State& state) {
  v1::ModelSpec model;
  v1::Gpt2Model& gpt2 = *model.mutable_gpt2();
  gpt2.set_layers(state.range(0));
  gpt2.set_heads(state.range(1));
  gpt2.set_hidden(state.range(2));
  gpt2.set_context(state.range(3));
  gpt2.set_vocab_size(256);
  gpt2.set_ffn_hidden(4 * state.range(2));
  gpt2.set_dropout(state.range(5) / 100.0f);
  Batch batch{.examples = state.range(4)};
  const int64_t rows = batch.examples * gpt2.context();
  for (int64_t i = 0; i < rows; ++i) {
    batch.tokens.push_back(i * 31 % 251);
    batch.targets.push_back((i + 1) * 31 % 251);
  }
  RunSteps(state, model, batch);
  state.counters["tokens/s"] = benchmark::Counter(rows, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GFLOP/s"] =
      benchmark::Counter(MatMulFlops(gpt2, rows) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Gpt2)
    ->Args({4, 4, 128, 128, 8, 0})
    ->Args({4, 4, 128, 128, 8, 10})
    ->Args({6, 6, 384, 256, 8, 0})
    ->Unit(benchmark::kMillisecond);

void BM_Mlp(benchmark::State& state) {
  v1::ModelSpec model;
  for (uint32_t width : {784, 256, 128, 10}) model.mutable_mlp()->add_widths(width);
  Batch batch{.examples = state.range(0), .features = std::vector<float>(784 * state.range(0), 0.5f)};
  for (int64_t i = 0; i < batch.examples; ++i) batch.targets.push_back(i % 10);
  RunSteps(state, model, batch);
  state.counters["examples/s"] = benchmark::Counter(batch.examples, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Mlp)->Arg(32)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace paramd

BENCHMARK_MAIN();
