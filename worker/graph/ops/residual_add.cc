#include "worker/graph/ops/residual_add.h"

#include "common/base/status_macros.h"

namespace paramd {
namespace {

class ResidualAddOp final : public Op {
 public:
  explicit ResidualAddOp(const ResidualAddOptions& options) : options_(options) {
    signature_.inputs = {options.residual, options.branch};
    signature_.outputs = {options.output};
    signature_.in_place = InPlaceGradient::kOverOutputGradient;
  }

  absl::string_view name() const override { return "residual_add"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const ResidualAddOptions options_;
  OpSignature signature_;
};

absl::Status ResidualAddOp::Forward(OpContext& context) const {
  return context.device().Dropout({.count = context.rows() * options_.width,
                                   .rate = context.training() ? options_.rate : 0,
                                   .key = context.random_key(),
                                   .x = context.value(options_.branch),
                                   .addend = context.value(options_.residual),
                                   .y = context.value(options_.output)});
}

absl::Status ResidualAddOp::Backward(OpContext& context) const {
  const int64_t count = context.rows() * options_.width;
  const float* dy = context.gradient(options_.output);
  float* d_branch = context.gradient(options_.branch);
  if (d_branch != nullptr) {
    RETURN_IF_ERROR(context.device().Dropout({.count = count,
                                              .rate = options_.rate,
                                              .key = context.random_key(),
                                              .x = dy,
                                              .addend = context.accumulate(options_.branch) ? d_branch : nullptr,
                                              .y = d_branch}));
  }
  float* d_residual = context.gradient(options_.residual);
  if (d_residual == nullptr || d_residual == dy) return absl::OkStatus();  // In place: nothing to do.
  return context.device().Dropout({.count = count,
                                   .x = dy,
                                   .addend = context.accumulate(options_.residual) ? d_residual : nullptr,
                                   .y = d_residual});
}

}  // namespace

std::unique_ptr<Op> MakeResidualAdd(const ResidualAddOptions& options) {
  return std::make_unique<ResidualAddOp>(options);
}

}  // namespace paramd
