#include "worker/models/mlp.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/graph/ops/activation.h"
#include "worker/graph/ops/cross_entropy.h"
#include "worker/graph/ops/dropout.h"
#include "worker/graph/ops/linear.h"

namespace paramd {
namespace {

// activation and dropout of `x`.
ValueId AddHiddenEnd(const v1::MlpModel& model, Graph& graph, ValueId x, int64_t width) {
  const ValueId active = graph.AddValue(width);
  graph.AddOp(MakeActivation({.kind = ActivationKindOf(model.activation(), ActivationKind::kRelu),
                              .input = x,
                              .output = active,
                              .width = width}));
  if (model.dropout() == 0) return active;
  const ValueId dropped = graph.AddValue(width);
  graph.AddOp(MakeDropout({.input = active, .output = dropped, .width = width, .rate = model.dropout()}));
  return dropped;
}

}  // namespace

ModelGraph BuildMlp(const v1::MlpModel& model, const ArenaPlan& plan) {
  ModelGraph result{.graph = Graph(static_cast<int>(plan.parameters().size()))};
  Graph& graph = result.graph;
  result.features = model.widths(0);
  ValueId x = graph.AddInput(result.features);
  const int layers = model.widths_size() - 1;
  for (int i = 0; i < layers; ++i) {
    const int64_t in = model.widths(i), out = model.widths(i + 1);
    const ValueId y = graph.AddValue(out);
    graph.AddOp(MakeLinear({.input = x,
                            .output = y,
                            .input_width = in,
                            .output_width = out,
                            .weight = plan.Find(absl::StrCat("layers.", i, ".weight")),
                            .bias = plan.Find(absl::StrCat("layers.", i, ".bias")),
                            .layout = WeightLayout::kOutIn}));
    x = i + 1 < layers ? AddHiddenEnd(model, graph, y, out) : y;
  }
  result.classes = model.widths(layers);
  graph.AddOp(MakeCrossEntropy({.logits = x, .classes = result.classes}));
  return result;
}

}  // namespace paramd
