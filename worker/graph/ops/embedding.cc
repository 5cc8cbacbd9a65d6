#include "worker/graph/ops/embedding.h"

#include "common/base/status_macros.h"

namespace paramd {
namespace {

class EmbeddingOp final : public Op {
 public:
  explicit EmbeddingOp(const EmbeddingOptions& options) : options_(options) {
    signature_.outputs = {options.output};
    signature_.parameters = {options.token_table, options.position_table};
  }

  absl::string_view name() const override { return "embedding"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const EmbeddingOptions options_;
  OpSignature signature_;
};

absl::Status EmbeddingOp::Forward(OpContext& context) const {
  return context.device().Embedding({.rows = context.rows(),
                                     .sequence = context.inputs().sequence,
                                     .width = options_.width,
                                     .tokens = context.inputs().tokens,
                                     .token_table = context.weight(options_.token_table),
                                     .position_table = context.weight(options_.position_table),
                                     .y = context.value(options_.output)});
}

absl::Status EmbeddingOp::Backward(OpContext& context) const {
  RETURN_IF_ERROR(
      context.device().EmbeddingGradient({.rows = context.rows(),
                                          .sequence = context.inputs().sequence,
                                          .width = options_.width,
                                          .tokens = context.inputs().tokens,
                                          .dy = context.gradient(options_.output),
                                          .d_token_table = context.weight_gradient(options_.token_table),
                                          .token_count = options_.token_count,
                                          .accumulate_tokens = context.accumulate_weight(options_.token_table),
                                          .d_position_table = context.weight_gradient(options_.position_table),
                                          .position_count = options_.position_count,
                                          .accumulate_positions = context.accumulate_weight(options_.position_table)}));
  RETURN_IF_ERROR(context.WeightGradientWritten(options_.token_table));
  return context.WeightGradientWritten(options_.position_table);
}

}  // namespace

std::unique_ptr<Op> MakeEmbedding(const EmbeddingOptions& options) { return std::make_unique<EmbeddingOp>(options); }

}  // namespace paramd
