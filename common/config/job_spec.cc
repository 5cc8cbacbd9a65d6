#include "common/config/job_spec.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/defaults.h"
#include "common/config/proto_to_yaml.h"
#include "common/config/validate.h"
#include "common/config/violations.h"
#include "common/config/yaml_to_proto.h"

namespace paramd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Fields in which zero stands for "unset": whoever writes 0 into a file means something that would not happen.
std::vector<const char*> FieldsWithoutZero(const v1::JobSpec& spec) {
  std::vector<const char*> fields = {
      "training.slots",        "training.micro_batch",     "training.report_every",
      "resources.workers",     "resources.servers",        "resources.chunk_elements",
      "model.gpt2.vocab_size", "model.gpt2.ffn_hidden",    "model.gpt2.layer_norm_epsilon",
      "data.text.stride",      "communication.topk_ratio", "checkpoint.keep",
  };
  switch (spec.optimizer().type()) {
    case v1::OPTIMIZER_TYPE_SGD:
      break;
    case v1::OPTIMIZER_TYPE_MOMENTUM:
    case v1::OPTIMIZER_TYPE_NESTEROV:
      fields.push_back("optimizer.momentum");
      break;
    case v1::OPTIMIZER_TYPE_RMSPROP:
      fields.push_back("optimizer.rho");
      fields.push_back("optimizer.epsilon");
      break;
    case v1::OPTIMIZER_TYPE_ADAGRAD:
      fields.push_back("optimizer.epsilon");
      break;
    default:
      fields.push_back("optimizer.beta1");
      fields.push_back("optimizer.beta2");
      fields.push_back("optimizer.epsilon");
  }
  const v1::ScheduleType schedule = spec.optimizer().schedule().type();
  if (schedule == v1::SCHEDULE_TYPE_LINEAR || schedule == v1::SCHEDULE_TYPE_COSINE) {
    fields.push_back("optimizer.schedule.decay_steps");
  }
  return fields;
}

void RefuseZeros(const v1::JobSpec& spec, const GivenScalars& given, Violations& violations) {
  for (const char* field : FieldsWithoutZero(spec)) {
    const std::string path = absl::StrCat("spec.", field);
    const auto found = given.find(path);
    double value;
    if (found != given.end() && absl::SimpleAtod(found->second, &value) && value == 0) {
      violations.Add(path, absl::StrCat("must be > 0, got ", found->second, "; leave it out for the default"));
    }
  }
}

// The fields that FillDefaultsNotGiven fills: left out, they would come back as something else than zero.
bool ZeroMeansZero(const Message& message, const FieldDescriptor& field) {
  if (message.GetDescriptor() == v1::SampleSpec::descriptor()) return field.name() == "temperature";
  if (message.GetDescriptor() == v1::TextSource::descriptor()) return field.name() == "validation_fraction";
  if (message.GetDescriptor() == v1::SyncSpec::descriptor()) {
    return field.name() == "staleness" && static_cast<const v1::SyncSpec&>(message).mode() == v1::SYNC_MODE_SSP;
  }
  if (message.GetDescriptor() == v1::OptimizerSpec::descriptor()) {
    const v1::OptimizerType type = static_cast<const v1::OptimizerSpec&>(message).type();
    return field.name() == "weight_decay" &&
           (type == v1::OPTIMIZER_TYPE_ADAMW || type == v1::OPTIMIZER_TYPE_UNSPECIFIED);
  }
  return false;
}

}  // namespace

absl::StatusOr<v1::JobSpec> ParseJobSpec(absl::string_view text) {
  v1::JobSpec spec;
  GivenScalars given;
  RETURN_IF_ERROR(YamlToProto(text, "spec", spec, &given));
  Violations violations;
  RefuseZeros(spec, given, violations);
  RETURN_IF_ERROR(violations.ToStatus());
  FillDefaultsNotGiven(given, spec);
  return spec;
}

absl::Status FillDefaultsAndValidate(v1::JobSpec& spec) {
  FillDefaults(spec);
  Violations violations;
  Validate(spec, violations);
  return violations.ToStatus();
}

std::string JobSpecToYaml(const v1::JobSpec& spec) { return ProtoToYaml(spec, ZeroMeansZero); }

}  // namespace paramd
