// Whole models: against PyTorch, against finite differences, and the promises of the interface.
#include "worker/models/model_program.h"

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/device/cpu/cpu_device.h"
#include "worker/graph/testdata/golden_file.h"

namespace paramd {
namespace {

// Waits for nothing, and notes the order of calls.
class Recorder final : public ParameterGate, public GradientSink {
 public:
  absl::Status WaitForParameter(int parameter) override {
    waited.push_back(parameter);
    return parameter == refuse_wait ? absl::AbortedError("gate") : absl::OkStatus();
  }
  absl::Status GradientFinal(int parameter) override {
    final.push_back(parameter);
    if (snapshot) snapshot(parameter);
    return parameter == refuse_final ? absl::AbortedError("sink") : absl::OkStatus();
  }

  std::vector<int> waited, final;
  std::function<void(int)> snapshot;
  int refuse_wait = -1, refuse_final = -1;
};

// A model with its arenas.
struct Bench {
  Bench(v1::ModelSpec spec, int64_t batch_size, int threads = 1) : model(std::move(spec)) {
    device = CreateCpuDevice({.threads = threads}).value();
    plan = ArenaPlan::Create(ParameterLayout(model).value(), 1024).value();
    program = CompileModel(*device, model, plan, {.batch_size = batch_size}).value();
    weights.assign(plan.arena_elements(), 0);
    gradients.assign(plan.arena_elements(), NAN);
    for (size_t p = 0; p < plan.parameters().size(); ++p) {
      const bool scale = plan.parameters()[p].role == ParameterRole::kNorm &&
                         plan.parameters()[p].initializer.kind == Initializer::Kind::kOnes;
      const ElementRange range = plan.ParameterRange(p);
      const std::vector<float> wave = Wave(p, range.size(), 1, scale ? 1 : 0);
      std::copy(wave.begin(), wave.end(), weights.begin() + range.begin);
    }
  }
  absl::StatusOr<LossSums> Run(const Batch& batch, const RunKey& key = {}) {
    return program->ForwardBackward(batch, key, weights, absl::MakeSpan(gradients), recorder, recorder);
  }
  absl::Span<const float> Gradient(int parameter) const {
    const ElementRange range = plan.ParameterRange(parameter);
    return absl::MakeConstSpan(gradients).subspan(range.begin, range.size());
  }

  v1::ModelSpec model;
  std::unique_ptr<Device> device;
  ArenaPlan plan;
  std::unique_ptr<ModelProgram> program;
  std::vector<float> weights, gradients;
  Recorder recorder;
};

v1::ModelSpec Gpt2(uint32_t layers, uint32_t heads, uint32_t hidden, uint32_t context, uint32_t vocab, uint32_t ffn) {
  v1::ModelSpec model;
  model.mutable_gpt2()->set_layers(layers);
  model.mutable_gpt2()->set_heads(heads);
  model.mutable_gpt2()->set_hidden(hidden);
  model.mutable_gpt2()->set_context(context);
  model.mutable_gpt2()->set_vocab_size(vocab);
  model.mutable_gpt2()->set_ffn_hidden(ffn);
  return model;
}

v1::ModelSpec Mlp(const std::vector<uint32_t>& widths, v1::Activation activation) {
  v1::ModelSpec model;
  for (uint32_t width : widths) model.mutable_mlp()->add_widths(width);
  model.mutable_mlp()->set_activation(activation);
  return model;
}

v1::ModelSpec OddGpt2() {
  v1::ModelSpec model = Gpt2(1, 3, 15, 7, 13, 17);
  model.mutable_gpt2()->set_activation(v1::ACTIVATION_GELU_ERF);
  return model;
}

Batch TextBatch(const v1::ModelSpec& model, int64_t examples, bool ignore = false) {
  const int64_t vocab = model.gpt2().vocab_size();
  Batch batch{.examples = examples};
  for (int64_t i = 0; i < examples * model.gpt2().context(); ++i) {
    batch.tokens.push_back((7 * i * i + 3 * i + 1) % vocab);
    batch.targets.push_back(ignore && i % 4 == 3 ? -1 : (5 * i + 2) % vocab);
  }
  return batch;
}

Batch FeatureBatch(const v1::ModelSpec& model, int64_t examples) {
  const auto& widths = model.mlp().widths();
  Batch batch{.examples = examples, .features = Wave(20, examples * widths[0])};
  for (int64_t i = 0; i < examples; ++i) batch.targets.push_back((5 * i + 2) % widths[widths.size() - 1]);
  return batch;
}

Batch SomeBatch(const v1::ModelSpec& model, int64_t examples) {
  return model.has_mlp() ? FeatureBatch(model, examples) : TextBatch(model, examples);
}

struct GoldenCase {
  std::string file;
  v1::ModelSpec model;
  Batch batch;
};

std::vector<GoldenCase> GoldenCases() {
  const v1::ModelSpec gpt2 = Gpt2(2, 2, 16, 12, 11, 64), odd = OddGpt2();
  const v1::ModelSpec mlp = Mlp({13, 17, 9, 5}, v1::ACTIVATION_UNSPECIFIED);
  const v1::ModelSpec gelu = Mlp({4, 3, 3}, v1::ACTIVATION_GELU_TANH);
  return {{"gpt2.txt", gpt2, TextBatch(gpt2, 2)},
          {"gpt2_odd.txt", odd, TextBatch(odd, 3, /*ignore=*/true)},
          {"mlp.txt", mlp, FeatureBatch(mlp, 7)},
          {"mlp_gelu.txt", gelu, FeatureBatch(gelu, 2)}};
}

TEST(ModelProgramTest, AgreesWithPyTorch) {
  for (const GoldenCase& c : GoldenCases()) {
    const GoldenFile golden = ReadGoldenFile("worker/models/testdata/" + c.file);
    for (int threads : {1, 2}) {
      Bench bench(c.model, c.batch.examples, threads);
      const auto sums = bench.Run(c.batch);
      ASSERT_OK(sums);
      EXPECT_NEAR(sums->loss_sum / sums->count, golden.at("loss")[0], 1e-5 * golden.at("loss")[0]) << c.file;
      for (size_t p = 0; p < bench.plan.parameters().size(); ++p) {
        const std::string& name = bench.plan.parameters()[p].name;
        ExpectClose(golden.at(name), bench.Gradient(p), 1e-4, absl::StrCat(c.file, " ", name));
      }
    }
  }
}

TEST(ModelProgramTest, NextTokenLogitsAgreeWithPyTorch) {
  const v1::ModelSpec model = Gpt2(2, 2, 16, 12, 11, 64);
  const std::vector<float> golden = ReadGoldenFile("worker/models/testdata/gpt2.txt").at("logits");
  Bench bench(model, 1);
  const Batch batch = TextBatch(model, 2);
  std::vector<float> logits(11);
  for (int64_t length : {1, 2, 5, 12}) {
    ASSERT_OK(bench.program->NextTokenLogits(absl::MakeConstSpan(batch.tokens).first(length), bench.weights,
                                             absl::MakeSpan(logits)));
    ExpectClose(absl::MakeConstSpan(golden).subspan((length - 1) * 11, 11), logits, 1e-4, absl::StrCat(length));
  }
}

// Central differences of the mean loss in fp32 with fixed dropout masks: an independent check of every gradient.
void CheckFiniteDifferences(const v1::ModelSpec& model, int64_t examples) {
  Bench bench(model, examples);
  const Batch batch = SomeBatch(model, examples);
  const RunKey key = {.seed = 7, .step = 3, .slot = 1};
  ASSERT_OK(bench.Run(batch, key));
  const std::vector<float> gradients = bench.gradients;
  const auto loss = [&] {
    const LossSums sums = bench.Run(batch, key).value();
    return sums.loss_sum / static_cast<double>(sums.count);
  };
  for (size_t p = 0; p < bench.plan.parameters().size(); ++p) {
    const ElementRange range = bench.plan.ParameterRange(p);
    for (int64_t i = range.begin; i < range.end; i += std::max<int64_t>(1, range.size() / 13)) {
      const float saved = bench.weights[i], h = 1e-2f;
      bench.weights[i] = saved + h;
      const double above = loss();
      bench.weights[i] = saved - h;
      const double below = loss();
      bench.weights[i] = saved;
      EXPECT_NEAR((above - below) / (2 * h), gradients[i], 1e-3 + 0.02 * std::abs(gradients[i]))
          << bench.plan.parameters()[p].name << "[" << i - range.begin << "]";
    }
  }
}

TEST(ModelProgramTest, GradientsAreThoseOfFiniteDifferences) {
  v1::ModelSpec gpt2 = Gpt2(2, 2, 8, 5, 7, 12);
  CheckFiniteDifferences(gpt2, 2);
  gpt2.mutable_gpt2()->set_dropout(0.3f);
  CheckFiniteDifferences(gpt2, 2);
  v1::ModelSpec mlp = Mlp({5, 6, 4}, v1::ACTIVATION_GELU_ERF);
  mlp.mutable_mlp()->set_dropout(0.4f);
  CheckFiniteDifferences(mlp, 3);
}

v1::ModelSpec DropoutGpt2() {
  v1::ModelSpec model = Gpt2(2, 2, 16, 70, 11, 64);
  model.mutable_gpt2()->set_dropout(0.25f);
  return model;
}

// Bit patterns, so that NaN equals NaN and 0 differs from -0.
std::vector<uint32_t> Bits(absl::Span<const float> values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

TEST(ModelProgramTest, SameArgumentsGiveSameBits) {
  const v1::ModelSpec model = DropoutGpt2();
  const Batch batch = TextBatch(model, 3);
  Bench a(model, 3), b(model, 3);
  const RunKey key = {.seed = 1, .step = 2, .slot = 3};
  ASSERT_OK(b.Run(batch, {.seed = 9, .step = 9, .slot = 9}));  // Leaves other contents in b's memory.
  ASSERT_OK(b.program->Evaluate(TextBatch(model, 1), b.weights));
  const double loss_a = a.Run(batch, key).value().loss_sum, loss_b = b.Run(batch, key).value().loss_sum;
  EXPECT_EQ(loss_a, loss_b);
  EXPECT_EQ(Bits(a.gradients), Bits(b.gradients));
  const std::vector<uint32_t> first = Bits(a.gradients);
  ASSERT_OK(a.Run(batch, key));
  EXPECT_EQ(first, Bits(a.gradients));
}

TEST(ModelProgramTest, DropoutIsKeyedBySeedStepAndSlot) {
  const v1::ModelSpec model = DropoutGpt2();
  const Batch batch = TextBatch(model, 1);
  Bench bench(model, 1);
  const double base = bench.Run(batch, {.seed = 1, .step = 2, .slot = 3}).value().loss_sum;
  for (const RunKey& key : {RunKey{2, 2, 3}, RunKey{1, 3, 3}, RunKey{1, 2, 4}, RunKey{1ull << 40, 2, 3}}) {
    EXPECT_NE(base, bench.Run(batch, key).value().loss_sum);
  }
}

// The masks of the first example are the same whether it is alone or followed by others, on any number of threads.
TEST(ModelProgramTest, DropoutMasksDoNotDependOnBatchOrThreads) {
  const v1::ModelSpec model = DropoutGpt2();
  const RunKey key = {.seed = 5, .step = 1, .slot = 0};
  Batch first_only = TextBatch(model, 3);
  for (size_t i = model.gpt2().context(); i < first_only.targets.size(); ++i) first_only.targets[i] = -1;
  Bench alone(model, 1), together(model, 3), threaded(model, 3, 2);
  const double want = alone.Run(TextBatch(model, 1), key).value().loss_sum;
  EXPECT_NEAR(together.Run(first_only, key).value().loss_sum, want, 1e-5 * want);
  EXPECT_NEAR(threaded.Run(first_only, key).value().loss_sum, want, 1e-5 * want);
  ExpectClose(alone.gradients, together.gradients, 1e-4, "three examples");
  ExpectClose(alone.gradients, threaded.gradients, 1e-4, "two threads");
}

TEST(ModelProgramTest, GateComesBeforeFirstUseAndEveryGradientIsFinalOnce) {
  for (const v1::ModelSpec& model : {DropoutGpt2(), Mlp({5, 6, 4}, v1::ACTIVATION_RELU)}) {
    Bench bench(model, 2);
    const int parameters = static_cast<int>(bench.plan.parameters().size());
    std::map<int, std::vector<uint32_t>> at_notice;
    bench.recorder.snapshot = [&](int p) { at_notice[p] = Bits(bench.Gradient(p)); };
    ASSERT_OK(bench.Run(SomeBatch(model, 2)));
    std::vector<int> in_order(parameters);
    for (int p = 0; p < parameters; ++p) in_order[p] = p;
    EXPECT_EQ(bench.recorder.waited, in_order);  // Layer by layer, in model order.
    std::vector<int> final = bench.recorder.final;
    EXPECT_GT(final.front(), parameters - 3);  // The last layer's gradients come first.
    std::sort(final.begin(), final.end());
    EXPECT_EQ(final, in_order);
    for (int p = 0; p < parameters; ++p) EXPECT_EQ(at_notice[p], Bits(bench.Gradient(p))) << p;
  }
}

// A weight that arrives only when the gate is asked for it is the one that is used.
TEST(ModelProgramTest, ReadsNoWeightBeforeItsGate) {
  const v1::ModelSpec model = DropoutGpt2();
  const Batch batch = TextBatch(model, 1);
  Bench bench(model, 1);
  const double want = bench.Run(batch).value().loss_sum;
  const std::vector<float> weights = bench.weights;

  class LateWeights final : public ParameterGate {
   public:
    LateWeights(Bench& bench, const std::vector<float>& weights) : bench_(bench), weights_(weights) {}
    absl::Status WaitForParameter(int parameter) override {
      const ElementRange range = bench_.plan.ParameterRange(parameter);
      std::copy(weights_.begin() + range.begin, weights_.begin() + range.end, bench_.weights.begin() + range.begin);
      return absl::OkStatus();
    }

   private:
    Bench& bench_;
    const std::vector<float>& weights_;
  };
  LateWeights gate(bench, weights);
  std::fill(bench.weights.begin(), bench.weights.end(), NAN);
  const auto sums =
      bench.program->ForwardBackward(batch, {}, bench.weights, absl::MakeSpan(bench.gradients), gate, bench.recorder);
  ASSERT_OK(sums);
  EXPECT_EQ(sums->loss_sum, want);
}

TEST(ModelProgramTest, PaddingOfGradientsIsZero) {
  Bench bench(OddGpt2(), 1);
  ASSERT_OK(bench.Run(TextBatch(bench.model, 1)));
  int64_t padding = bench.plan.arena_elements() - bench.plan.parameter_elements();
  EXPECT_GT(padding, 0);
  for (size_t p = 0; p < bench.plan.parameters().size(); ++p) {
    const ElementRange range = bench.plan.ParameterRange(p);
    std::fill(bench.gradients.begin() + range.begin, bench.gradients.begin() + range.end, 0);
  }
  for (float value : bench.gradients) EXPECT_EQ(value, 0);
}

TEST(ModelProgramTest, EvaluateHasNoDropoutTakesSmallBatchesAndCountsHits) {
  v1::ModelSpec model = DropoutGpt2();
  Bench with(model, 3);
  model.mutable_gpt2()->set_dropout(0);
  Bench without(model, 3);
  for (int64_t examples : {1, 3}) {
    const Batch batch = TextBatch(model, examples);
    const LossSums sums = with.program->Evaluate(batch, with.weights).value();
    EXPECT_EQ(sums.loss_sum, without.program->Evaluate(batch, without.weights).value().loss_sum);
    EXPECT_EQ(sums.count, examples * 70);
  }
  const Batch batch = TextBatch(model, 3);
  EXPECT_EQ(without.Run(batch)->loss_sum, with.program->Evaluate(batch, with.weights)->loss_sum);
  // Hits by the logits of every prefix.
  std::vector<float> logits(11);
  int64_t hits = 0;
  for (int64_t i = 0; i < 70; ++i) {
    ASSERT_OK(with.program->NextTokenLogits(absl::MakeConstSpan(batch.tokens).first(i + 1), with.weights,
                                            absl::MakeSpan(logits)));
    hits += std::max_element(logits.begin(), logits.end()) - logits.begin() == batch.targets[i];
  }
  EXPECT_EQ(with.program->Evaluate(TextBatch(model, 1), with.weights)->correct, hits);
}

TEST(ModelProgramTest, NoCountedTargetGivesZeroGradient) {
  Bench bench(OddGpt2(), 1);
  Batch batch = TextBatch(bench.model, 1);
  std::fill(batch.targets.begin(), batch.targets.end(), -1);
  const auto sums = bench.Run(batch);
  ASSERT_OK(sums);
  EXPECT_EQ(sums->count, 0);
  EXPECT_EQ(sums->loss_sum, 0);
  for (float value : bench.gradients) EXPECT_EQ(value, 0);
}

TEST(ModelProgramTest, NonFiniteWeightsShowInTheGradient) {
  Bench bench(OddGpt2(), 1);
  bench.weights[bench.plan.ParameterRange(bench.plan.Find("h.0.mlp.c_fc.weight")).begin] = NAN;
  ASSERT_OK(bench.Run(TextBatch(bench.model, 1)));
  EXPECT_TRUE(std::isnan(bench.Gradient(0)[0]));
}

TEST(ModelProgramTest, ErrorsOfGateAndSinkEndThePass) {
  Bench bench(OddGpt2(), 1);
  const Batch batch = TextBatch(bench.model, 1);
  bench.recorder.refuse_wait = 4;
  EXPECT_EQ(bench.Run(batch).status(), absl::AbortedError("gate"));
  EXPECT_EQ(bench.recorder.waited.back(), 4);
  EXPECT_TRUE(bench.recorder.final.empty());
  bench.recorder.refuse_wait = -1;
  bench.recorder.refuse_final = 4;
  EXPECT_EQ(bench.Run(batch).status(), absl::AbortedError("sink"));
  EXPECT_EQ(bench.recorder.final.back(), 4);
}

TEST(ModelProgramTest, RefusesBadBatches) {
  const v1::ModelSpec model = OddGpt2();
  Bench bench(model, 2);
  const auto refuses = [&](const std::string& reason, auto change) {
    Batch batch = TextBatch(model, 2);
    change(batch);
    const absl::Status status = bench.Run(batch).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(ErrorReason(status), reason);
    EXPECT_EQ(bench.program->Evaluate(batch, bench.weights).status().code(), absl::StatusCode::kInvalidArgument);
  };
  refuses("BATCH_SHAPE_MISMATCH", [](Batch& b) { b.examples = 0; });
  refuses("BATCH_SHAPE_MISMATCH", [](Batch& b) { b.examples = 3; });
  refuses("BATCH_SHAPE_MISMATCH", [](Batch& b) { b.tokens.pop_back(); });
  refuses("BATCH_SHAPE_MISMATCH", [](Batch& b) { b.targets.push_back(0); });
  refuses("TOKEN_OUT_OF_RANGE", [](Batch& b) { b.tokens[3] = 13; });
  refuses("TOKEN_OUT_OF_RANGE", [](Batch& b) { b.tokens[3] = -1; });
  refuses("TOKEN_OUT_OF_RANGE", [](Batch& b) { b.targets[3] = 13; });
  refuses("TOKEN_OUT_OF_RANGE", [](Batch& b) { b.targets[3] = -2; });
  EXPECT_EQ(bench.Run(TextBatch(model, 1)).status().code(),
            absl::StatusCode::kInvalidArgument);  // Training: full batches.
  bench.weights.pop_back();
  EXPECT_EQ(bench.Run(TextBatch(model, 2)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ModelProgramTest, RefusesBadFeaturesAndPrefixes) {
  Bench mlp(Mlp({5, 6, 4}, v1::ACTIVATION_RELU), 2);
  Batch batch = FeatureBatch(mlp.model, 2);
  batch.features.pop_back();
  EXPECT_EQ(mlp.Run(batch).status().code(), absl::StatusCode::kInvalidArgument);
  std::vector<float> logits(13);
  EXPECT_EQ(mlp.program->NextTokenLogits({1}, mlp.weights, absl::MakeSpan(logits)).code(),
            absl::StatusCode::kUnimplemented);
  Bench gpt2(OddGpt2(), 1);
  const std::vector<int32_t> too_long(8, 1);
  for (absl::Span<const int32_t> tokens : {absl::Span<const int32_t>(), absl::MakeConstSpan(too_long)}) {
    EXPECT_EQ(gpt2.program->NextTokenLogits(tokens, gpt2.weights, absl::MakeSpan(logits)).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(gpt2.program->NextTokenLogits({13}, gpt2.weights, absl::MakeSpan(logits)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(gpt2.program->NextTokenLogits({1}, gpt2.weights, absl::MakeSpan(logits).first(12)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CompileModelTest, RefusesAPlanOfAnotherModelAndBadOptions) {
  auto device = CreateCpuDevice({.threads = 1}).value();
  const v1::ModelSpec model = OddGpt2();
  const ArenaPlan plan = ArenaPlan::Create(ParameterLayout(model).value(), 1024).value();
  const auto code = [&](const v1::ModelSpec& m, int64_t batch) {
    return CompileModel(*device, m, plan, {.batch_size = batch}).status().code();
  };
  EXPECT_EQ(code(model, 1), absl::StatusCode::kOk);
  EXPECT_EQ(code(model, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Gpt2(1, 3, 15, 8, 13, 17), 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Mlp({2, 2}, v1::ACTIVATION_RELU), 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(v1::ModelSpec(), 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Gpt2(1, 4, 15, 7, 13, 17), 1), absl::StatusCode::kInvalidArgument);  // Heads.
  v1::ModelSpec dropout = model;
  dropout.mutable_gpt2()->set_dropout(1);
  EXPECT_EQ(code(dropout, 1), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace paramd
