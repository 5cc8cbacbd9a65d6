#include "worker/train/evaluator.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "common/base/status_macros.h"

namespace paramd {

absl::StatusOr<v1::Evaluation> Evaluate(const EvaluatorOptions& options, uint64_t step, const Dataset& data,
                                        ModelProgram& program, absl::Span<const float> weights,
                                        const std::function<absl::Status()>& keep_going) {
  const int64_t samples = data.validation_samples();
  int64_t batches = (samples + options.batch_size - 1) / options.batch_size;
  if (options.max_batches > 0) batches = std::min(batches, options.max_batches);
  v1::Evaluation evaluation;
  evaluation.set_step(step);
  Batch batch;
  std::vector<int64_t> indices;
  for (int64_t i = options.worker_index; i < batches; i += options.workers) {
    RETURN_IF_ERROR(keep_going());
    const int64_t first = i * options.batch_size;
    indices.resize(std::min(options.batch_size, samples - first));
    std::iota(indices.begin(), indices.end(), first);
    RETURN_IF_ERROR(data.Fill(Dataset::Split::kValidation, indices, batch));
    ASSIGN_OR_RETURN(const LossSums sums, program.Evaluate(batch, weights));
    evaluation.set_loss_sum(evaluation.loss_sum() + sums.loss_sum);
    evaluation.set_count(evaluation.count() + static_cast<uint64_t>(sums.count));
    evaluation.set_correct(evaluation.correct() + static_cast<uint64_t>(sums.correct));
  }
  return evaluation;
}

}  // namespace paramd
