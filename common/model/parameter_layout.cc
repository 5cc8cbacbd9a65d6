#include "common/model/parameter_layout.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

// GPT-2's standard deviation of initial weights.
constexpr uint32_t kMaxLayers = 256;
constexpr float kGpt2InitialDeviation = 0.02f;

absl::Status InvalidModel(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_MODEL", message);
}

Initializer Normal(float deviation) { return {Initializer::Kind::kNormal, deviation}; }

// Extents above 0, products and their sum below 2^63.
absl::Status CheckExtents(const std::vector<ParameterSpec>& layout) {
  int64_t total = 0;
  for (const ParameterSpec& parameter : layout) {
    int64_t size = 1;
    for (const int64_t extent : parameter.shape) {
      if (extent < 1) return InvalidModel(absl::StrCat("model: ", parameter.name, " has extent ", extent));
      if (extent > std::numeric_limits<int64_t>::max() / size) {
        return InvalidModel(absl::StrCat("model: the size of ", parameter.name, " overflows"));
      }
      size *= extent;
    }
    if (size > std::numeric_limits<int64_t>::max() - total) return InvalidModel("model: its total size overflows");
    total += size;
  }
  return absl::OkStatus();
}

// PyTorch's nn.Linear: weight and bias uniform within 1 / sqrt(inputs).
absl::StatusOr<std::vector<ParameterSpec>> MlpLayout(const v1::MlpModel& model) {
  if (model.widths_size() < 2) {
    return InvalidModel(absl::StrCat("model.mlp.widths: must have at least 2 entries, got ", model.widths_size()));
  }
  std::vector<ParameterSpec> layout;
  for (int i = 0; i + 1 < model.widths_size(); ++i) {
    const int64_t in = model.widths(i), out = model.widths(i + 1);
    const Initializer uniform = {Initializer::Kind::kUniform,
                                 static_cast<float>(1 / std::sqrt(static_cast<double>(in)))};
    const std::string prefix = absl::StrCat("layers.", i);
    layout.push_back({prefix + ".weight", {out, in}, ParameterRole::kWeight, uniform});
    layout.push_back({prefix + ".bias", {out}, ParameterRole::kBias, uniform});
  }
  return layout;
}

void AddLayerNorm(std::vector<ParameterSpec>& layout, const std::string& name, int64_t width) {
  layout.push_back({name + ".weight", {width}, ParameterRole::kNorm, {Initializer::Kind::kOnes}});
  layout.push_back({name + ".bias", {width}, ParameterRole::kNorm, {Initializer::Kind::kZeros}});
}

// Hugging Face's Conv1D: y = x * weight + bias, weight [in, out].
void AddConv1d(std::vector<ParameterSpec>& layout, const std::string& name, int64_t in, int64_t out, float deviation) {
  layout.push_back({name + ".weight", {in, out}, ParameterRole::kWeight, Normal(deviation)});
  layout.push_back({name + ".bias", {out}, ParameterRole::kBias, {Initializer::Kind::kZeros}});
}

absl::StatusOr<std::vector<ParameterSpec>> Gpt2Layout(const v1::Gpt2Model& model) {
  if (model.layers() == 0 || model.layers() > kMaxLayers) {  // Also of specifications that nobody has validated.
    return InvalidModel(absl::StrCat("model.gpt2.layers: must be 1 to ", kMaxLayers, ", got ", model.layers()));
  }
  const int64_t hidden = model.hidden(), ffn = model.ffn_hidden();
  // Projections into the residual stream are scaled down, so that its variance does not grow with depth.
  const float projection = static_cast<float>(0.02 / std::sqrt(2.0 * model.layers()));
  std::vector<ParameterSpec> layout;
  layout.push_back({"wte.weight", {model.vocab_size(), hidden}, ParameterRole::kWeight, Normal(kGpt2InitialDeviation)});
  layout.push_back({"wpe.weight", {model.context(), hidden}, ParameterRole::kWeight, Normal(kGpt2InitialDeviation)});
  for (uint32_t i = 0; i < model.layers(); ++i) {
    const std::string prefix = absl::StrCat("h.", i);
    AddLayerNorm(layout, prefix + ".ln_1", hidden);
    AddConv1d(layout, prefix + ".attn.c_attn", hidden, 3 * hidden, kGpt2InitialDeviation);
    AddConv1d(layout, prefix + ".attn.c_proj", hidden, hidden, projection);
    AddLayerNorm(layout, prefix + ".ln_2", hidden);
    AddConv1d(layout, prefix + ".mlp.c_fc", hidden, ffn, kGpt2InitialDeviation);
    AddConv1d(layout, prefix + ".mlp.c_proj", ffn, hidden, projection);
  }
  AddLayerNorm(layout, "ln_f", hidden);
  return layout;
}

}  // namespace

int64_t ElementCount(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

absl::StatusOr<std::vector<ParameterSpec>> ParameterLayout(const v1::ModelSpec& model) {
  std::vector<ParameterSpec> layout;
  switch (model.model_case()) {
    case v1::ModelSpec::kMlp: {
      ASSIGN_OR_RETURN(layout, MlpLayout(model.mlp()));
      break;
    }
    case v1::ModelSpec::kGpt2: {
      ASSIGN_OR_RETURN(layout, Gpt2Layout(model.gpt2()));
      break;
    }
    case v1::ModelSpec::MODEL_NOT_SET:
      return InvalidModel("model: one of mlp, gpt2 must be set");
  }
  RETURN_IF_ERROR(CheckExtents(layout));
  return layout;
}

}  // namespace paramd
