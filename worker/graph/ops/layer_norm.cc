#include "worker/graph/ops/layer_norm.h"

#include "common/base/status_macros.h"

namespace paramd {
namespace {

class LayerNormOp final : public Op {
 public:
  explicit LayerNormOp(const LayerNormOptions& options) : options_(options) {
    signature_.inputs = {options.input};
    signature_.outputs = {options.output};
    signature_.parameters = {options.gamma, options.beta};
    signature_.kept = {options.input};
    signature_.stash_row_elements = {1, 1};  // Mean, reciprocal standard deviation.
  }

  absl::string_view name() const override { return "layer_norm"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const LayerNormOptions options_;
  OpSignature signature_;
};

absl::Status LayerNormOp::Forward(OpContext& context) const {
  return context.device().LayerNorm({.rows = context.rows(),
                                     .columns = options_.width,
                                     .epsilon = options_.epsilon,
                                     .x = context.value(options_.input),
                                     .gamma = context.weight(options_.gamma),
                                     .beta = context.weight(options_.beta),
                                     .y = context.value(options_.output),
                                     .mean = context.stash(0),
                                     .rstd = context.stash(1)});
}

absl::Status LayerNormOp::Backward(OpContext& context) const {
  RETURN_IF_ERROR(
      context.device().LayerNormGradient({.rows = context.rows(),
                                          .columns = options_.width,
                                          .x = context.value(options_.input),
                                          .gamma = context.weight(options_.gamma),
                                          .mean = context.stash(0),
                                          .rstd = context.stash(1),
                                          .dy = context.gradient(options_.output),
                                          .dx = context.gradient(options_.input),
                                          .accumulate_dx = context.accumulate(options_.input),
                                          .d_gamma = context.weight_gradient(options_.gamma),
                                          .d_beta = context.weight_gradient(options_.beta),
                                          .accumulate_parameters = context.accumulate_weight(options_.gamma)}));
  RETURN_IF_ERROR(context.WeightGradientWritten(options_.gamma));
  return context.WeightGradientWritten(options_.beta);
}

}  // namespace

std::unique_ptr<Op> MakeLayerNorm(const LayerNormOptions& options) { return std::make_unique<LayerNormOp>(options); }

}  // namespace paramd
