#include "worker/models/gpt2.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/graph/ops/activation.h"
#include "worker/graph/ops/attention.h"
#include "worker/graph/ops/cross_entropy.h"
#include "worker/graph/ops/dropout.h"
#include "worker/graph/ops/embedding.h"
#include "worker/graph/ops/layer_norm.h"
#include "worker/graph/ops/linear.h"
#include "worker/graph/ops/residual_add.h"

namespace paramd {
namespace {

constexpr float kDefaultLayerNormEpsilon = 1e-5f;

// Adds ops one after the other; every method returns the new value.
class Gpt2Builder {
 public:
  Gpt2Builder(const v1::Gpt2Model& model, const ArenaPlan& plan, const Device& device)
      : model_(model), plan_(plan), device_(device), hidden_(model.hidden()) {}

  ModelGraph Build() &&;

 private:
  int Parameter(const std::string& name) const { return plan_.Find(name); }
  ValueId Embeddings();
  ValueId LayerNorm(ValueId x, const std::string& name);
  ValueId Conv1d(ValueId x, const std::string& name, int64_t in, int64_t out);
  ValueId ResidualAdd(ValueId residual, ValueId branch);
  ValueId AttentionBranch(ValueId x, const std::string& prefix);
  ValueId FeedForwardBranch(ValueId x, const std::string& prefix);

  const v1::Gpt2Model& model_;
  const ArenaPlan& plan_;
  const Device& device_;
  const int64_t hidden_;
  Graph graph_{static_cast<int>(plan_.parameters().size())};
};

ValueId Gpt2Builder::Embeddings() {
  const ValueId x = graph_.AddValue(hidden_);
  graph_.AddOp(MakeEmbedding({.output = x,
                              .width = hidden_,
                              .token_table = Parameter("wte.weight"),
                              .token_count = model_.vocab_size(),
                              .position_table = Parameter("wpe.weight"),
                              .position_count = model_.context()}));
  if (model_.dropout() == 0) return x;
  const ValueId dropped = graph_.AddValue(hidden_);
  graph_.AddOp(MakeDropout({.input = x, .output = dropped, .width = hidden_, .rate = model_.dropout()}));
  return dropped;
}

ValueId Gpt2Builder::LayerNorm(ValueId x, const std::string& name) {
  const ValueId y = graph_.AddValue(hidden_);
  const float epsilon = model_.layer_norm_epsilon() == 0 ? kDefaultLayerNormEpsilon : model_.layer_norm_epsilon();
  graph_.AddOp(MakeLayerNorm({.input = x,
                              .output = y,
                              .width = hidden_,
                              .epsilon = epsilon,
                              .gamma = Parameter(name + ".weight"),
                              .beta = Parameter(name + ".bias")}));
  return y;
}

ValueId Gpt2Builder::Conv1d(ValueId x, const std::string& name, int64_t in, int64_t out) {
  const ValueId y = graph_.AddValue(out);
  graph_.AddOp(MakeLinear({.input = x,
                           .output = y,
                           .input_width = in,
                           .output_width = out,
                           .weight = Parameter(name + ".weight"),
                           .bias = Parameter(name + ".bias"),
                           .layout = WeightLayout::kInOut}));
  return y;
}

ValueId Gpt2Builder::ResidualAdd(ValueId residual, ValueId branch) {
  const ValueId y = graph_.AddValue(hidden_);
  graph_.AddOp(MakeResidualAdd(
      {.residual = residual, .branch = branch, .output = y, .width = hidden_, .rate = model_.dropout()}));
  return y;
}

ValueId Gpt2Builder::AttentionBranch(ValueId x, const std::string& prefix) {
  const ValueId qkv = Conv1d(LayerNorm(x, prefix + ".ln_1"), prefix + ".attn.c_attn", hidden_, 3 * hidden_);
  const ValueId y = graph_.AddValue(hidden_);
  graph_.AddOp(MakeAttention({.input = qkv,
                              .output = y,
                              .width = hidden_,
                              .heads = model_.heads(),
                              .max_sequence = model_.context(),
                              .dropout = model_.dropout(),
                              .scratch_elements = device_.AttentionScratchElements(model_.context())}));
  return Conv1d(y, prefix + ".attn.c_proj", hidden_, hidden_);
}

ValueId Gpt2Builder::FeedForwardBranch(ValueId x, const std::string& prefix) {
  const int64_t width = model_.ffn_hidden();
  const ValueId wide = Conv1d(LayerNorm(x, prefix + ".ln_2"), prefix + ".mlp.c_fc", hidden_, width);
  const ValueId active = graph_.AddValue(width);
  graph_.AddOp(MakeActivation({.kind = ActivationKindOf(model_.activation(), ActivationKind::kGeluTanh),
                               .input = wide,
                               .output = active,
                               .width = width}));
  return Conv1d(active, prefix + ".mlp.c_proj", width, hidden_);
}

ModelGraph Gpt2Builder::Build() && {
  ValueId x = Embeddings();
  for (uint32_t i = 0; i < model_.layers(); ++i) {
    const std::string prefix = absl::StrCat("h.", i);
    x = ResidualAdd(x, AttentionBranch(x, prefix));
    x = ResidualAdd(x, FeedForwardBranch(x, prefix));
  }
  x = LayerNorm(x, "ln_f");
  const int token_table = Parameter("wte.weight");
  const int64_t vocab = model_.vocab_size();
  const ValueId logits = graph_.AddValue(vocab);
  graph_.AddOp(MakeLinear({.input = x,
                           .output = logits,
                           .input_width = hidden_,
                           .output_width = vocab,
                           .weight = token_table,
                           .layout = WeightLayout::kOutIn}));
  graph_.AddOp(MakeCrossEntropy({.logits = logits, .classes = vocab}));
  return {.graph = std::move(graph_),
          .classes = vocab,
          .context = model_.context(),
          .last_hidden = x,
          .hidden_width = hidden_,
          .token_table = token_table};
}

}  // namespace

ModelGraph BuildGpt2(const v1::Gpt2Model& model, const ArenaPlan& plan, const Device& device) {
  return Gpt2Builder(model, plan, device).Build();
}

}  // namespace paramd
