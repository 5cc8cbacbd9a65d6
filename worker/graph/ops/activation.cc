#include "worker/graph/ops/activation.h"

namespace paramd {
namespace {

class ActivationOp final : public Op {
 public:
  explicit ActivationOp(const ActivationOptions& options) : options_(options) {
    signature_.inputs = {options.input};
    signature_.outputs = {options.output};
    signature_.kept = {options.input};
    signature_.in_place = InPlaceGradient::kOverOutputGradient;
  }

  absl::string_view name() const override { return "activation"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const ActivationOptions options_;
  OpSignature signature_;
};

absl::Status ActivationOp::Forward(OpContext& context) const {
  return context.device().Activation({.kind = options_.kind,
                                      .count = context.rows() * options_.width,
                                      .x = context.value(options_.input),
                                      .y = context.value(options_.output)});
}

absl::Status ActivationOp::Backward(OpContext& context) const {
  float* dx = context.gradient(options_.input);
  if (dx == nullptr) return absl::OkStatus();
  return context.device().ActivationGradient({.kind = options_.kind,
                                              .count = context.rows() * options_.width,
                                              .x = context.value(options_.input),
                                              .dy = context.gradient(options_.output),
                                              .dx = dx,
                                              .accumulate = context.accumulate(options_.input)});
}

}  // namespace

std::unique_ptr<Op> MakeActivation(const ActivationOptions& options) { return std::make_unique<ActivationOp>(options); }

}  // namespace paramd
