// output[r] = token_table[tokens[r]] + position_table[r % sequence], from RunInputs.tokens.
#ifndef PARAMD_WORKER_GRAPH_OPS_EMBEDDING_H_
#define PARAMD_WORKER_GRAPH_OPS_EMBEDDING_H_

#include <cstdint>
#include <memory>

#include "worker/graph/op.h"

namespace paramd {

struct EmbeddingOptions {
  ValueId output = 0;
  int64_t width = 0;
  int token_table = 0;
  int64_t token_count = 0;
  int position_table = 0;
  int64_t position_count = 0;
};

std::unique_ptr<Op> MakeEmbedding(const EmbeddingOptions& options);

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_OPS_EMBEDDING_H_
