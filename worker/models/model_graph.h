// A model as a graph: what mlp.h and gpt2.h build and model_program.cc runs.
#ifndef PARAMD_WORKER_MODELS_MODEL_GRAPH_H_
#define PARAMD_WORKER_MODELS_MODEL_GRAPH_H_

#include <cstdint>

#include "proto/job.pb.h"
#include "worker/device/ops.h"
#include "worker/graph/graph.h"

namespace paramd {

struct ModelGraph {
  Graph graph;
  int64_t classes = 0;  // Of the loss: classes or tokens.

  // Classifiers.
  int64_t features = 0;  // Per example.

  // Language models.
  int64_t context = 0;      // Tokens per example; 0: not a language model.
  ValueId last_hidden = 0;  // [rows, hidden_width]: logits are its product with the token table.
  int64_t hidden_width = 0;
  int token_table = 0;  // [classes, hidden_width].
};

// The op for a spec's activation; `unspecified` for ACTIVATION_UNSPECIFIED.
inline ActivationKind ActivationKindOf(v1::Activation activation, ActivationKind unspecified) {
  switch (activation) {
    case v1::ACTIVATION_RELU:
      return ActivationKind::kRelu;
    case v1::ACTIVATION_GELU_TANH:
      return ActivationKind::kGeluTanh;
    case v1::ACTIVATION_GELU_ERF:
      return ActivationKind::kGeluErf;
    default:
      return unspecified;
  }
}

}  // namespace paramd

#endif  // PARAMD_WORKER_MODELS_MODEL_GRAPH_H_
