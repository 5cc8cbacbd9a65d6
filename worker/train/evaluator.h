// A worker's share of an evaluation: batch i of the held-out split belongs to worker i % workers.
//
//   ASSIGN_OR_RETURN(v1::Evaluation share, Evaluate(options, step, data, program, weights, client_status));
//
// One thread at a time (the program's). Pure apart from the program's scratch memory.
#ifndef PARAMD_WORKER_TRAIN_EVALUATOR_H_
#define PARAMD_WORKER_TRAIN_EVALUATOR_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/cluster.pb.h"
#include "worker/data/dataset.h"
#include "worker/models/model_program.h"

namespace paramd {

struct EvaluatorOptions {
  uint32_t worker_index = 0;
  uint32_t workers = 1;
  int64_t batch_size = 1;
  int64_t max_batches = 0;  // Of all workers together; 0: the whole split.
};

// Sums over the share; all zero when it is empty. `keep_going` is asked before each batch; its error ends the
// evaluation.
absl::StatusOr<v1::Evaluation> Evaluate(const EvaluatorOptions& options, uint64_t step, const Dataset& data,
                                        ModelProgram& program, absl::Span<const float> weights,
                                        const std::function<absl::Status()>& keep_going);

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_EVALUATOR_H_
