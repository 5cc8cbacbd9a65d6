// Causal multi-head self-attention (Vaswani et al., 2017) on projected queries, keys and values:
//   output[i] = sum over j <= i of dropout(softmax_j(q_i . k_j / sqrt(head width))) v_j, head by head.
// input is [rows, 3 * width] (q, k, v), output [rows, width]. The probabilities are kept for the backward pass.
#ifndef PARAMD_WORKER_GRAPH_OPS_ATTENTION_H_
#define PARAMD_WORKER_GRAPH_OPS_ATTENTION_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

struct AttentionOptions {
  ValueId input = 0;
  ValueId output = 0;
  int64_t width = 0;  // heads * head width.
  int64_t heads = 1;
  int64_t max_sequence = 0;      // Of the program.
  float dropout = 0;             // On the probabilities, [0, 1).
  int64_t scratch_elements = 0;  // Device::AttentionScratchElements(max_sequence).
};

std::unique_ptr<Op> MakeAttention(const AttentionOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_ATTENTION_H_
