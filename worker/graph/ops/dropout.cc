#include "worker/graph/ops/dropout.h"

namespace paramd {
namespace {

class DropoutOp final : public Op {
 public:
  explicit DropoutOp(const DropoutOptions& options) : options_(options) {
    signature_.inputs = {options.input};
    signature_.outputs = {options.output};
    signature_.in_place = InPlaceGradient::kOverOutputGradient;
  }

  absl::string_view name() const override { return "dropout"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const DropoutOptions options_;
  OpSignature signature_;
};

absl::Status DropoutOp::Forward(OpContext& context) const {
  return context.device().Dropout({.count = context.rows() * options_.width,
                                   .rate = context.training() ? options_.rate : 0,
                                   .key = context.random_key(),
                                   .x = context.value(options_.input),
                                   .y = context.value(options_.output)});
}

absl::Status DropoutOp::Backward(OpContext& context) const {
  float* dx = context.gradient(options_.input);
  if (dx == nullptr) return absl::OkStatus();
  return context.device().Dropout({.count = context.rows() * options_.width,
                                   .rate = options_.rate,
                                   .key = context.random_key(),
                                   .x = context.gradient(options_.output),
                                   .addend = context.accumulate(options_.input) ? dx : nullptr,
                                   .y = dx});
}

}  // namespace

std::unique_ptr<Op> MakeDropout(const DropoutOptions& options) { return std::make_unique<DropoutOp>(options); }

}  // namespace paramd
