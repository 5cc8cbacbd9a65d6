// The parameters that a model has, in model order: names, shapes, roles, initial values. The one place that says so:
// the coordinator plans the arena from it, servers initialise from it, and worker/models looks its tensors up in it.
//
//   ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec.model()));
//
// Names follow Hugging Face where the model exists there (GPT-2: "wte.weight", "h.0.attn.c_attn.weight", ...), shapes
// too (Conv1D weights are [in, out]). MLP: "layers.{i}.weight" [out, in], "layers.{i}.bias" [out]. Pure and thread
// safe.
#ifndef PARAMD_COMMON_MODEL_PARAMETER_LAYOUT_H_
#define PARAMD_COMMON_MODEL_PARAMETER_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

enum class ParameterRole { kWeight, kBias, kNorm };

struct Initializer {
  enum class Kind { kZeros, kOnes, kNormal, kUniform };
  Kind kind = Kind::kZeros;
  float scale = 0;  // kNormal: standard deviation. kUniform: values in [-scale, scale).
};

struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;  // Row major; every extent > 0.
  ParameterRole role = ParameterRole::kWeight;
  Initializer initializer;
};

// Elements of `shape`.
int64_t ElementCount(const std::vector<int64_t>& shape);

// The parameters of a validated model. kInvalidArgument when no model is set or a product overflows.
absl::StatusOr<std::vector<ParameterSpec>> ParameterLayout(const v1::ModelSpec& model);

}  // namespace paramd

#endif  // PARAMD_COMMON_MODEL_PARAMETER_LAYOUT_H_
