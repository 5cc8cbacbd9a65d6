#include "worker/models/model_program.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/model/parameter_layout.h"
#include "worker/graph/program.h"
#include "worker/models/gpt2.h"
#include "worker/models/mlp.h"

namespace paramd {
namespace {

absl::Status BadShape(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "BATCH_SHAPE_MISMATCH", message);
}

absl::Status CheckSize(absl::string_view what, int64_t got, int64_t want) {
  if (got == want) return absl::OkStatus();
  return BadShape(absl::StrCat(std::string(what), ": must have ", want, " elements, got ", got));
}

// All in [lowest, limit).
absl::Status CheckRange(absl::string_view what, absl::Span<const int32_t> ids, int32_t lowest, int64_t limit) {
  const auto bad = std::find_if(ids.begin(), ids.end(), [=](int32_t id) { return id < lowest || id >= limit; });
  if (bad == ids.end()) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "TOKEN_OUT_OF_RANGE",
      absl::StrCat(std::string(what), "[", bad - ids.begin(), "]: must be in [", lowest, ", ", limit, "), got ", *bad));
}

class GraphModelProgram final : public ModelProgram {
 public:
  // The program must have been made of `model`'s graph, whose op list has moved there.
  GraphModelProgram(ModelGraph model, const ArenaPlan& plan, int64_t batch_size, std::unique_ptr<Program> program)
      : model_(std::move(model)),
        arena_elements_(plan.arena_elements()),
        token_table_(model_.context > 0 ? plan.ParameterRange(model_.token_table) : ElementRange{}),
        batch_size_(batch_size),
        program_(std::move(program)) {}

  absl::StatusOr<LossSums> ForwardBackward(const Batch& batch, const RunKey& key, absl::Span<const float> weights,
                                           absl::Span<float> gradients, ParameterGate& gate,
                                           GradientSink& sink) override;
  absl::StatusOr<LossSums> Evaluate(const Batch& batch, absl::Span<const float> weights) override;
  absl::Status NextTokenLogits(absl::Span<const int32_t> tokens, absl::Span<const float> weights,
                               absl::Span<float> logits) override;
  int64_t memory_bytes() const override { return program_->memory_bytes(); }

 private:
  absl::Status CheckBatch(const Batch& batch, int64_t min_examples) const;
  RunInputs InputsOf(const Batch& batch) const;

  const ModelGraph model_;
  const int64_t arena_elements_;
  const ElementRange token_table_;
  const int64_t batch_size_;
  const std::unique_ptr<Program> program_;
};

absl::Status GraphModelProgram::CheckBatch(const Batch& batch, int64_t min_examples) const {
  if (batch.examples < min_examples || batch.examples > batch_size_) {
    return BadShape(
        absl::StrCat("batch.examples: must be in [", min_examples, ", ", batch_size_, "], got ", batch.examples));
  }
  const int64_t rows = batch.examples * std::max<int64_t>(1, model_.context);
  RETURN_IF_ERROR(CheckSize("batch.targets", batch.targets.size(), rows));
  RETURN_IF_ERROR(CheckRange("batch.targets", batch.targets, -1, model_.classes));
  if (model_.context == 0) return CheckSize("batch.features", batch.features.size(), rows * model_.features);
  RETURN_IF_ERROR(CheckSize("batch.tokens", batch.tokens.size(), rows));
  return CheckRange("batch.tokens", batch.tokens, 0, model_.classes);
}

RunInputs GraphModelProgram::InputsOf(const Batch& batch) const {
  return {.examples = batch.examples,
          .sequence = std::max<int64_t>(1, model_.context),
          .features = batch.features.data(),
          .tokens = batch.tokens.data(),
          .targets = batch.targets.data()};
}

absl::StatusOr<LossSums> GraphModelProgram::ForwardBackward(const Batch& batch, const RunKey& key,
                                                            absl::Span<const float> weights,
                                                            absl::Span<float> gradients, ParameterGate& gate,
                                                            GradientSink& sink) {
  RETURN_IF_ERROR(CheckBatch(batch, batch_size_));
  RETURN_IF_ERROR(CheckSize("weights", weights.size(), arena_elements_));
  RETURN_IF_ERROR(CheckSize("gradients", gradients.size(), arena_elements_));
  ASSIGN_OR_RETURN(const CrossEntropySums sums,
                   program_->ForwardBackward(
                       InputsOf(batch), {.seed = key.seed, .step = key.step, .slot = key.slot}, weights, gradients,
                       [&](int parameter) { return gate.WaitForParameter(parameter); },
                       [&](int parameter) { return sink.GradientFinal(parameter); }));
  return LossSums{.loss_sum = sums.loss_sum, .count = sums.count};
}

absl::StatusOr<LossSums> GraphModelProgram::Evaluate(const Batch& batch, absl::Span<const float> weights) {
  RETURN_IF_ERROR(CheckBatch(batch, 1));
  RETURN_IF_ERROR(CheckSize("weights", weights.size(), arena_elements_));
  ASSIGN_OR_RETURN(const CrossEntropySums sums, program_->Forward(InputsOf(batch), weights));
  return LossSums{.loss_sum = sums.loss_sum, .count = sums.count, .correct = sums.correct};
}

absl::Status GraphModelProgram::NextTokenLogits(absl::Span<const int32_t> tokens, absl::Span<const float> weights,
                                                absl::Span<float> logits) {
  if (model_.context == 0) return absl::UnimplementedError("the model is not a language model");
  const int64_t count = tokens.size();
  if (count < 1 || count > model_.context) {
    return BadShape(absl::StrCat("tokens: must have 1..", model_.context, " elements, got ", count));
  }
  RETURN_IF_ERROR(CheckRange("tokens", tokens, 0, model_.classes));
  RETURN_IF_ERROR(CheckSize("weights", weights.size(), arena_elements_));
  RETURN_IF_ERROR(CheckSize("logits", logits.size(), model_.classes));
  ASSIGN_OR_RETURN(
      const float* hidden,
      program_->ForwardTo(model_.last_hidden, {.examples = 1, .sequence = count, .tokens = tokens.data()}, weights));
  const int64_t width = model_.hidden_width;
  return program_->device().MatMul({.m = 1,
                                    .n = model_.classes,
                                    .k = width,
                                    .a = hidden + (count - 1) * width,
                                    .lda = width,
                                    .b = weights.data() + token_table_.begin,
                                    .ldb = width,
                                    .transpose_b = true,
                                    .c = logits.data(),
                                    .ldc = model_.classes});
}

absl::Status CheckPlan(const v1::ModelSpec& model, const ArenaPlan& plan) {
  ASSIGN_OR_RETURN(const std::vector<ParameterSpec> layout, ParameterLayout(model));
  const std::vector<ParameterSpec>& planned = plan.parameters();
  const auto same = [](const ParameterSpec& a, const ParameterSpec& b) {
    return a.name == b.name && a.shape == b.shape;
  };
  if (std::equal(layout.begin(), layout.end(), planned.begin(), planned.end(), same)) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
      absl::StrCat("the arena plan's ", planned.size(), " parameters are not the model's ", layout.size()));
}

absl::Status CheckRate(float dropout) {
  if (dropout >= 0 && dropout < 1) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_MODEL",
                   absl::StrCat("model dropout: must be in [0, 1), got ", dropout));
}

absl::StatusOr<ModelGraph> BuildGraph(const v1::ModelSpec& model, const ArenaPlan& plan, const Device& device) {
  if (model.has_mlp()) {
    RETURN_IF_ERROR(CheckRate(model.mlp().dropout()));
    return BuildMlp(model.mlp(), plan);
  }
  RETURN_IF_ERROR(CheckRate(model.gpt2().dropout()));
  if (model.gpt2().heads() == 0 || model.gpt2().hidden() % model.gpt2().heads() != 0) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "INVALID_MODEL",
        absl::StrCat("model.gpt2.heads: must divide hidden ", model.gpt2().hidden(), ", got ", model.gpt2().heads()));
  }
  return BuildGpt2(model.gpt2(), plan, device);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelProgram>> CompileModel(Device& device, const v1::ModelSpec& model,
                                                           const ArenaPlan& plan, const CompileOptions& options) {
  if (options.batch_size < 1) return BadShape(absl::StrCat("batch size: must be >= 1, got ", options.batch_size));
  RETURN_IF_ERROR(CheckPlan(model, plan));
  ASSIGN_OR_RETURN(ModelGraph graph, BuildGraph(model, plan, device));
  const ProgramOptions limits = {.max_examples = options.batch_size,
                                 .max_sequence = std::max<int64_t>(1, graph.context)};
  ASSIGN_OR_RETURN(std::unique_ptr<Program> program, Program::Create(device, std::move(graph.graph), plan, limits));
  return std::make_unique<GraphModelProgram>(std::move(graph), plan, options.batch_size, std::move(program));
}

}  // namespace paramd
