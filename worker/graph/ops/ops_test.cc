// Every op alone: against PyTorch's values (testdata/make_goldens.py) and against finite differences, over several
// shapes.
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/device/cpu/cpu_device.h"
#include "worker/graph/op.h"
#include "worker/graph/ops/activation.h"
#include "worker/graph/ops/attention.h"
#include "worker/graph/ops/cross_entropy.h"
#include "worker/graph/ops/dropout.h"
#include "worker/graph/ops/embedding.h"
#include "worker/graph/ops/layer_norm.h"
#include "worker/graph/ops/linear.h"
#include "worker/graph/ops/residual_add.h"
#include "worker/graph/testdata/golden_file.h"

namespace paramd {
namespace {

using Tensor = std::vector<float>;

// Runs one op: values 0, 1, ... are its inputs, then its output; parameters 0, 1, ... its weights.
class OpBench final : public OpContext {
 public:
  OpBench(Device& device, std::unique_ptr<Op> op, RunInputs inputs)
      : device_(device), op_(std::move(op)), inputs_(inputs) {
    for (int64_t elements : op_->signature().stash_row_elements) stashes.emplace_back(elements * rows(), NAN);
  }

  // The op's results for `arguments`: input values first, then weights. The output has `output_elements`; a loss op has
  // none and gives its mean loss.
  Tensor Forward(const std::vector<Tensor>& arguments, int64_t output_elements) {
    const size_t inputs = op_->signature().inputs.size();
    values.assign(arguments.begin(), arguments.begin() + inputs);
    weights.assign(arguments.begin() + inputs, arguments.end());
    values.emplace_back(output_elements, NAN);
    scratch_.assign(op_->signature().forward_scratch_elements, NAN);
    sums_ = {};
    EXPECT_OK(op_->Forward(*this));
    if (output_elements == 0) return {static_cast<float>(sums_.loss_sum / static_cast<double>(sums_.count))};
    return values.back();
  }
  // Gradients of sum(output * d_output), in the order of the arguments. With `accumulate`, on top of `base`.
  std::vector<Tensor> Backward(const Tensor& d_output, bool accumulate = false, float base = 0) {
    accumulate_ = accumulate;
    gradients.clear();
    weight_gradients.clear();
    for (const Tensor& value : values) gradients.emplace_back(value.size(), accumulate ? base : NAN);
    for (const Tensor& weight : weights) weight_gradients.emplace_back(weight.size(), accumulate ? base : NAN);
    gradients.back() = d_output;
    scratch_.assign(op_->signature().backward_scratch_elements, NAN);
    written.clear();
    EXPECT_OK(op_->Backward(*this));
    EXPECT_EQ(written.size(), weights.size());
    std::vector<Tensor> result(gradients.begin(), gradients.end() - 1);
    result.insert(result.end(), weight_gradients.begin(), weight_gradients.end());
    return result;
  }

  Device& device() override { return device_; }
  const RunInputs& inputs() const override { return inputs_; }
  bool training() const override { return training_; }
  RandomKey random_key() const override { return {.seed = 3, .step = 1, .slot = 2, .op = 4}; }
  float* value(ValueId id) override { return values[id].data(); }
  float* gradient(ValueId id) override { return gradients[id].data(); }
  bool accumulate(ValueId id) const override { return accumulate_; }
  const float* weight(int parameter) override { return weights[parameter].data(); }
  float* weight_gradient(int parameter) override { return weight_gradients[parameter].data(); }
  bool accumulate_weight(int parameter) const override { return accumulate_; }
  absl::Status WeightGradientWritten(int parameter) override {
    written.push_back(parameter);
    return absl::OkStatus();
  }
  float* stash(int index) override { return stashes[index].data(); }
  float* scratch() override { return scratch_.data(); }
  CrossEntropySums& sums() override { return sums_; }
  void set_training(bool training) { training_ = training; }

  std::vector<Tensor> values, gradients, weights, weight_gradients, stashes;
  std::vector<int> written;

 private:
  Device& device_;
  std::unique_ptr<Op> op_;
  RunInputs inputs_;
  Tensor scratch_;
  CrossEntropySums sums_;
  bool accumulate_ = false;
  bool training_ = true;
};

// One op with a shape and its arguments.
struct OpCase {
  std::string golden;  // Name in ops.txt; empty: none.
  std::function<std::unique_ptr<Op>()> make;
  RunInputs inputs;
  std::vector<Tensor> arguments;
  int64_t output_elements = 0;
  bool accumulates = true;  // Attention and cross-entropy are always their input's only consumer.
};

class OpsTest : public ::testing::TestWithParam<int> {
 protected:
  OpsTest() : device_(CreateCpuDevice({.threads = GetParam()}).value()) {
    for (int64_t i = 0; i < 64; ++i) {
      tokens_.push_back((7 * i * i + 3 * i + 1) % 5);
    }
  }

  RunInputs Rows(int64_t rows) { return {.examples = rows, .tokens = tokens_.data()}; }
  std::vector<OpCase> Cases();
  void AddRowCases(std::vector<OpCase>& cases, int64_t rows, int64_t a, int64_t b);
  void AddActivations(std::vector<OpCase>& cases, int64_t rows, int64_t width);
  void AddAttention(std::vector<OpCase>& cases, int64_t examples, int64_t t, int64_t heads, int64_t width, float rate);

  std::unique_ptr<Device> device_;
  std::vector<int32_t> tokens_;
  std::vector<std::vector<int32_t>> targets_;
};

void OpsTest::AddActivations(std::vector<OpCase>& cases, int64_t rows, int64_t width) {
  const std::pair<const char*, ActivationKind> kinds[] = {{"relu", ActivationKind::kRelu},
                                                          {"gelu_tanh", ActivationKind::kGeluTanh},
                                                          {"gelu_erf", ActivationKind::kGeluErf}};
  for (const auto& [name, kind] : kinds) {
    cases.push_back(
        {absl::StrCat(name, ".", rows),
         [=, kind = kind] { return MakeActivation({.kind = kind, .input = 0, .output = 1, .width = width}); },
         Rows(rows),
         {Wave(1, rows * width, 20)},
         rows * width});
  }
}

void OpsTest::AddRowCases(std::vector<OpCase>& cases, int64_t rows, int64_t a, int64_t b) {
  for (WeightLayout layout : {WeightLayout::kOutIn, WeightLayout::kInOut}) {
    cases.push_back({absl::StrCat(layout == WeightLayout::kOutIn ? "linear_out_in." : "linear_in_out.", rows),
                     [=] {
                       return MakeLinear({.input = 0,
                                          .output = 1,
                                          .input_width = a,
                                          .output_width = b,
                                          .weight = 0,
                                          .bias = 1,
                                          .layout = layout});
                     },
                     Rows(rows),
                     {Wave(1, rows * a), Wave(2, a * b), Wave(3, b)},
                     rows * b});
  }
  cases.push_back({absl::StrCat("layer_norm.", rows),
                   [=] { return MakeLayerNorm({.input = 0, .output = 1, .width = b, .gamma = 0, .beta = 1}); },
                   Rows(rows),
                   {Wave(1, rows * b, 5), Wave(2, b, 1, 1), Wave(3, b)},
                   rows * b});
  std::vector<int32_t>& targets = targets_.emplace_back();
  for (int64_t i = 0; i < rows; ++i) targets.push_back(i % 4 == 3 ? -1 : (5 * i + 2) % (b + 2));
  cases.push_back({absl::StrCat("cross_entropy.", rows),
                   [=] { return MakeCrossEntropy({.logits = 0, .classes = b + 2}); },
                   {.examples = rows, .targets = targets.data()},
                   {Wave(1, rows * (b + 2), 20)},
                   0,
                   /*accumulates=*/false});
  AddActivations(cases, rows, b);
}

void OpsTest::AddAttention(std::vector<OpCase>& cases, int64_t examples, int64_t t, int64_t heads, int64_t width,
                           float rate) {
  cases.push_back({rate > 0 ? "" : absl::StrCat("attention.", t),
                   [=, this] {
                     return MakeAttention({.input = 0,
                                           .output = 1,
                                           .width = heads * width,
                                           .heads = heads,
                                           .max_sequence = t,
                                           .dropout = rate,
                                           .scratch_elements = device_->AttentionScratchElements(t)});
                   },
                   {.examples = examples, .sequence = t},
                   {Wave(1, examples * t * 3 * heads * width, 5)},
                   examples * t * heads * width,
                   /*accumulates=*/false});
}

std::vector<OpCase> OpsTest::Cases() {
  std::vector<OpCase> cases;
  AddRowCases(cases, 1, 1, 1);
  AddRowCases(cases, 3, 5, 7);
  AddRowCases(cases, 17, 33, 31);
  for (float rate : {0.0f, 0.3f}) {
    AddAttention(cases, 1, 1, 1, 1, rate);
    AddAttention(cases, 2, 7, 3, 4, rate);
    AddAttention(cases, 1, 67, 1, 5, rate);
    cases.push_back({"",
                     [=] { return MakeDropout({.input = 0, .output = 1, .width = 67, .rate = rate}); },
                     Rows(3),
                     {Wave(1, 3 * 67)},
                     3 * 67});
    cases.push_back(
        {"",
         [=] { return MakeResidualAdd({.residual = 0, .branch = 1, .output = 2, .width = 67, .rate = rate}); },
         Rows(3),
         {Wave(1, 3 * 67), Wave(2, 3 * 67)},
         3 * 67});
  }
  cases.push_back(
      {"embedding",
       [] {
         return MakeEmbedding(
             {.output = 0, .width = 7, .token_table = 0, .token_count = 5, .position_table = 1, .position_count = 3});
       },
       {.examples = 2, .sequence = 3, .tokens = tokens_.data()},
       {Wave(1, 35), Wave(2, 21)},
       42});
  return cases;
}

Tensor GradientOfOutput(const OpCase& c) { return c.output_elements == 0 ? Tensor{} : Wave(9, c.output_elements); }

// What make_goldens.py sums up: the mean loss itself times wave(9, 1)[0].
float LossWeight(const OpCase& c) { return c.output_elements == 0 ? Wave(9, 1)[0] : 1; }

TEST_P(OpsTest, AgreeWithPyTorch) {
  const GoldenFile golden = ReadGoldenFile("worker/graph/testdata/ops.txt");
  size_t compared = 0;
  for (const OpCase& c : Cases()) {
    if (c.golden.empty()) continue;
    OpBench bench(*device_, c.make(), c.inputs);
    const Tensor y = bench.Forward(c.arguments, c.output_elements);
    ExpectClose(golden.at(c.golden + ".y"), y, 1e-5, c.golden);
    std::vector<Tensor> gradients = bench.Backward(GradientOfOutput(c));
    for (size_t i = 0; i < gradients.size(); ++i) {
      for (float& value : gradients[i]) value *= LossWeight(c);
      ExpectClose(golden.at(absl::StrCat(c.golden, ".d", i)), gradients[i], 2e-5, absl::StrCat(c.golden, ".d", i));
      ++compared;
    }
    ++compared;
  }
  EXPECT_EQ(compared, golden.size());  // No golden value is left out.
}

double WeightedSum(const Tensor& y, const Tensor& weights) {
  if (weights.empty()) return y[0];
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * weights[i];
  return sum;
}

TEST_P(OpsTest, GradientsAreThoseOfFiniteDifferences) {
  for (OpCase& c : Cases()) {
    OpBench bench(*device_, c.make(), c.inputs);
    bench.Forward(c.arguments, c.output_elements);
    const Tensor d_output = GradientOfOutput(c);
    const std::vector<Tensor> gradients = bench.Backward(d_output);
    for (size_t a = 0; a < c.arguments.size(); ++a) {
      for (size_t i = 0; i < c.arguments[a].size(); i += 1 + c.arguments[a].size() / 23) {
        const float saved = c.arguments[a][i], h = 4e-3f;
        c.arguments[a][i] = saved + h;
        const double above = WeightedSum(bench.Forward(c.arguments, c.output_elements), d_output);
        c.arguments[a][i] = saved - h;
        const double below = WeightedSum(bench.Forward(c.arguments, c.output_elements), d_output);
        c.arguments[a][i] = saved;
        EXPECT_NEAR((above - below) / (2 * h), gradients[a][i], 2e-3 + 0.01 * std::abs(gradients[a][i]))
            << c.golden << " argument " << a << "[" << i << "]";
      }
    }
  }
}

TEST_P(OpsTest, AccumulatingAddsToWhatIsThere) {
  for (const OpCase& c : Cases()) {
    if (!c.accumulates) continue;
    OpBench bench(*device_, c.make(), c.inputs);
    bench.Forward(c.arguments, c.output_elements);
    std::vector<Tensor> want = bench.Backward(GradientOfOutput(c));
    const std::vector<Tensor> got = bench.Backward(GradientOfOutput(c), /*accumulate=*/true, /*base=*/0.5f);
    for (size_t i = 0; i < want.size(); ++i) {
      for (float& value : want[i]) value += 0.5f;
      ExpectClose(want[i], got[i], 1e-5, c.golden);
    }
  }
}

TEST_P(OpsTest, DropoutDropsAtItsRateAndScalesTheRest) {
  const int64_t n = 1e6 + 7;
  OpBench bench(*device_, MakeDropout({.input = 0, .output = 1, .width = n, .rate = 0.3f}), Rows(1));
  const Tensor y = bench.Forward({Tensor(n, 1)}, n);
  int64_t dropped = 0;
  for (float value : y) {
    dropped += value == 0;
    EXPECT_TRUE(value == 0 || value == 1.0f / 0.7f);
  }
  EXPECT_NEAR(static_cast<double>(dropped) / n, 0.3, 0.002);  // Over 4 standard deviations.
  bench.set_training(false);
  EXPECT_EQ(bench.Forward({Tensor(n, 1)}, n), Tensor(n, 1));
}

INSTANTIATE_TEST_SUITE_P(Threads, OpsTest, ::testing::Values(1, 3));

}  // namespace
}  // namespace paramd
