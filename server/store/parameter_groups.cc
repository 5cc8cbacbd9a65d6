#include "server/store/parameter_groups.h"

#include "common/model/parameter_match.h"

namespace paramd {

namespace {

ParameterSettings Resolve(const v1::OptimizerSpec& optimizer, const ParameterSpec& parameter) {
  ParameterSettings settings;
  if (parameter.role == ParameterRole::kWeight) settings.weight_decay = optimizer.weight_decay();
  const v1::ParameterGroup* const group = FindParameterGroup(optimizer, parameter.name);
  if (group == nullptr) return settings;
  if (group->has_weight_decay()) settings.weight_decay = group->weight_decay();
  if (group->has_learning_rate_scale()) settings.learning_rate_scale = group->learning_rate_scale();
  return settings;
}

}  // namespace

std::vector<ParameterSettings> ResolveParameterGroups(const v1::OptimizerSpec& optimizer,
                                                      absl::Span<const ParameterSpec> parameters) {
  std::vector<ParameterSettings> settings;
  settings.reserve(parameters.size());
  for (const ParameterSpec& parameter : parameters) settings.push_back(Resolve(optimizer, parameter));
  return settings;
}

}  // namespace paramd
