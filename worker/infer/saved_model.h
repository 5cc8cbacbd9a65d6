// A language model as a finished job left it: the directory's job.json and model.safetensors, checked against each
// other and loaded into an arena.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<LoadedModel> model, LoadSavedModel("/var/lib/paramd/gpt-a1b2c3", compile));
//
// Errors name the file and what is wrong with it: kNotFound (MODEL_NOT_FOUND), kInvalidArgument (MODEL_INVALID: damaged
// files, a model that generates no text, tensors that are missing, unexpected, or of another type or shape). Thread
// safe.
#ifndef PARAMD_WORKER_INFER_SAVED_MODEL_H_
#define PARAMD_WORKER_INFER_SAVED_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "proto/job.pb.h"
#include "worker/infer/inference_service.h"
#include "worker/model_compiler.h"

namespace paramd {

inline constexpr char kSavedSpecFile[] = "job.json";
inline constexpr char kSavedWeightsFile[] = "model.safetensors";

// The spec in `directory`, filled and valid.
absl::StatusOr<v1::JobSpec> LoadSavedSpec(const std::string& directory);

// The weights in `directory`, laid out by `plan`; padding is 0. Every parameter of the plan must be there, as fp32 of
// its shape, and nothing else.
absl::StatusOr<std::vector<float>> LoadSavedWeights(const std::string& directory, const ArenaPlan& plan);

// Both, compiled for one sequence at a time.
absl::StatusOr<std::unique_ptr<LoadedModel>> LoadSavedModel(const std::string& directory, const ModelCompiler& compile);

}  // namespace paramd

#endif  // PARAMD_WORKER_INFER_SAVED_MODEL_H_
