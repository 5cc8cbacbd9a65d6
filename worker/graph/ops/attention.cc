#include "worker/graph/ops/attention.h"

namespace paramd {
namespace {

class AttentionOp final : public Op {
 public:
  explicit AttentionOp(const AttentionOptions& options) : options_(options) {
    signature_.inputs = {options.input};
    signature_.outputs = {options.output};
    signature_.kept = {options.input};
    signature_.stash_row_elements = {options.heads * options.max_sequence};
    signature_.forward_scratch_elements = options.scratch_elements;
    signature_.backward_scratch_elements = options.scratch_elements;
  }

  absl::string_view name() const override { return "attention"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext& context) const override;
  absl::Status Backward(OpContext& context) const override;

 private:
  const AttentionOptions options_;
  OpSignature signature_;
};

absl::Status AttentionOp::Forward(OpContext& context) const {
  return context.device().Attention({.examples = context.inputs().examples,
                                     .sequence = context.inputs().sequence,
                                     .heads = options_.heads,
                                     .head_width = options_.width / options_.heads,
                                     .dropout = context.training() ? options_.dropout : 0,
                                     .key = context.random_key(),
                                     .qkv = context.value(options_.input),
                                     .probabilities = context.stash(0),
                                     .y = context.value(options_.output),
                                     .scratch = context.scratch()});
}

absl::Status AttentionOp::Backward(OpContext& context) const {
  return context.device().AttentionGradient({.examples = context.inputs().examples,
                                             .sequence = context.inputs().sequence,
                                             .heads = options_.heads,
                                             .head_width = options_.width / options_.heads,
                                             .dropout = options_.dropout,
                                             .qkv = context.value(options_.input),
                                             .probabilities = context.stash(0),
                                             .dy = context.gradient(options_.output),
                                             .d_qkv = context.gradient(options_.input),
                                             .scratch = context.scratch()});
}

}  // namespace

std::unique_ptr<Op> MakeAttention(const AttentionOptions& options) { return std::make_unique<AttentionOp>(options); }

}  // namespace paramd
