// The fully connected classifier: linear layers, an activation and dropout between them, softmax cross-entropy.
#ifndef PARAMD_WORKER_MODELS_MLP_H_
#define PARAMD_WORKER_MODELS_MLP_H_

#include "common/partition/arena_plan.h"
#include "proto/job.pb.h"
#include "worker/models/model_graph.h"

namespace paramd {

// `plan` must hold exactly the parameters of the model (ParameterLayout).
ModelGraph BuildMlp(const v1::MlpModel& model, const ArenaPlan& plan);

}  // namespace paramd

#endif  // PARAMD_WORKER_MODELS_MLP_H_
