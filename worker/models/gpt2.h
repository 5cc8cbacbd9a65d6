// GPT-2 (Radford et al., 2019): pre-norm decoder blocks, learned positions, output layer tied to the token table.
#ifndef PARAMD_WORKER_MODELS_GPT2_H_
#define PARAMD_WORKER_MODELS_GPT2_H_

#include "common/partition/arena_plan.h"
#include "proto/job.pb.h"
#include "worker/device/device.h"
#include "worker/models/model_graph.h"

namespace paramd {

// `plan` must hold exactly the parameters of the model (ParameterLayout). Dropout is on the embeddings, the attention
// probabilities and the ends of the residual branches.
ModelGraph BuildGpt2(const v1::Gpt2Model& model, const ArenaPlan& plan, const Device& device);

}  // namespace paramd

#endif  // PARAMD_WORKER_MODELS_GPT2_H_
