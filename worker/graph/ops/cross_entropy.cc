#include "worker/graph/ops/cross_entropy.h"

#include "common/base/status_macros.h"

namespace paramd {
namespace {

class CrossEntropyOp final : public Op {
 public:
  explicit CrossEntropyOp(const CrossEntropyOptions& options) : options_(options) {
    signature_.inputs = {options.logits};
    signature_.kept = {options.logits};
    signature_.stash_row_elements = {1, 1};  // Logarithm of the sum of exponentials, loss.
    signature_.in_place = InPlaceGradient::kOverInput;
  }

  absl::string_view name() const override { return "cross_entropy"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const CrossEntropyOptions options_;
  OpSignature signature_;
};

absl::Status CrossEntropyOp::Forward(OpContext& context) const {
  ASSIGN_OR_RETURN(const CrossEntropySums sums, context.device().CrossEntropy({.rows = context.rows(),
                                                                               .classes = options_.classes,
                                                                               .logits = context.value(options_.logits),
                                                                               .targets = context.inputs().targets,
                                                                               .log_sum_exp = context.stash(0),
                                                                               .losses = context.stash(1)}));
  context.sums().loss_sum += sums.loss_sum;
  context.sums().count += sums.count;
  context.sums().correct += sums.correct;
  return absl::OkStatus();
}

absl::Status CrossEntropyOp::Backward(OpContext& context) const {
  const int64_t count = context.sums().count;
  return context.device().CrossEntropyGradient({.rows = context.rows(),
                                                .classes = options_.classes,
                                                .logits = context.value(options_.logits),
                                                .targets = context.inputs().targets,
                                                .log_sum_exp = context.stash(0),
                                                .scale = count > 0 ? 1.0f / static_cast<float>(count) : 0.0f,
                                                .d_logits = context.gradient(options_.logits)});
}

}  // namespace

std::unique_ptr<Op> MakeCrossEntropy(const CrossEntropyOptions& options) {
  return std::make_unique<CrossEntropyOp>(options);
}

}  // namespace paramd
