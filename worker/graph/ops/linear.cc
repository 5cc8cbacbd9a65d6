#include "worker/graph/ops/linear.h"

#include "common/base/status_macros.h"

namespace paramd {
namespace {

class LinearOp final : public Op {
 public:
  explicit LinearOp(const LinearOptions& options) : options_(options) {
    signature_.inputs = {options.input};
    signature_.outputs = {options.output};
    signature_.parameters = {options.weight};
    if (options.bias >= 0) signature_.parameters.push_back(options.bias);
    signature_.kept = {options.input};
  }

  absl::string_view name() const override { return "linear"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  absl::Status WeightGradients(OpContext& context) const;

  const LinearOptions options_;
  OpSignature signature_;
};

absl::Status LinearOp::Forward(OpContext& context) const {
  const int64_t in = options_.input_width, out = options_.output_width;
  const bool transpose = options_.layout == WeightLayout::kOutIn;
  RETURN_IF_ERROR(context.device().MatMul({.m = context.rows(),
                                           .n = out,
                                           .k = in,
                                           .a = context.value(options_.input),
                                           .lda = in,
                                           .b = context.weight(options_.weight),
                                           .ldb = transpose ? in : out,
                                           .transpose_b = transpose,
                                           .c = context.value(options_.output),
                                           .ldc = out}));
  if (options_.bias < 0) return absl::OkStatus();
  return context.device().AddBias({.rows = context.rows(),
                                   .columns = out,
                                   .bias = context.weight(options_.bias),
                                   .x = context.value(options_.output)});
}

absl::Status LinearOp::WeightGradients(OpContext& context) const {
  const int64_t in = options_.input_width, out = options_.output_width;
  const float* x = context.value(options_.input);
  const float* dy = context.gradient(options_.output);
  const bool out_in = options_.layout == WeightLayout::kOutIn;
  RETURN_IF_ERROR(context.device().MatMul({.m = out_in ? out : in,
                                           .n = out_in ? in : out,
                                           .k = context.rows(),
                                           .a = out_in ? dy : x,
                                           .lda = out_in ? out : in,
                                           .transpose_a = true,
                                           .b = out_in ? x : dy,
                                           .ldb = out_in ? in : out,
                                           .c = context.weight_gradient(options_.weight),
                                           .ldc = out_in ? in : out,
                                           .accumulate = context.accumulate_weight(options_.weight)}));
  RETURN_IF_ERROR(context.WeightGradientWritten(options_.weight));
  if (options_.bias < 0) return absl::OkStatus();
  RETURN_IF_ERROR(context.device().SumRows({.rows = context.rows(),
                                            .columns = out,
                                            .x = dy,
                                            .out = context.weight_gradient(options_.bias),
                                            .accumulate = context.accumulate_weight(options_.bias)}));
  return context.WeightGradientWritten(options_.bias);
}

absl::Status LinearOp::Backward(OpContext& context) const {
  RETURN_IF_ERROR(WeightGradients(context));
  const int64_t in = options_.input_width, out = options_.output_width;
  float* dx = context.gradient(options_.input);
  if (dx == nullptr) return absl::OkStatus();
  const bool transpose = options_.layout == WeightLayout::kInOut;
  return context.device().MatMul({.m = context.rows(),
                                  .n = in,
                                  .k = out,
                                  .a = context.gradient(options_.output),
                                  .lda = out,
                                  .b = context.weight(options_.weight),
                                  .ldb = transpose ? out : in,
                                  .transpose_b = transpose,
                                  .c = dx,
                                  .ldc = in,
                                  .accumulate = context.accumulate(options_.input)});
}

}  // namespace

std::unique_ptr<Op> MakeLinear(const LinearOptions& options) { return std::make_unique<LinearOp>(options); }

}  // namespace paramd
