#include "common/config/defaults.h"

#include "absl/strings/string_view.h"

namespace paramd {
namespace {

constexpr uint32_t kByteTokens = 256;

// Setters are called only for what is unset.
#define PARAMD_DEFAULT(message, field, value) \
  if ((message).field() == 0) (message).set_##field(value)

void FillModel(v1::ModelSpec& model, bool bytes) {
  if (model.has_mlp()) {
    PARAMD_DEFAULT(*model.mutable_mlp(), activation, v1::ACTIVATION_RELU);
  }
  if (model.has_gpt2()) {
    v1::Gpt2Model& gpt2 = *model.mutable_gpt2();
    PARAMD_DEFAULT(gpt2, activation, v1::ACTIVATION_GELU_TANH);
    if (bytes) {
      PARAMD_DEFAULT(gpt2, vocab_size, kByteTokens);
    }
    PARAMD_DEFAULT(gpt2, layer_norm_epsilon, 1e-5f);
    // A width beyond its limit is a violation and must not wrap around here.
    constexpr uint32_t kMaxHidden = 65536;
    if (gpt2.hidden() <= kMaxHidden) {
      PARAMD_DEFAULT(gpt2, ffn_hidden, 4 * gpt2.hidden());
    }
  }
}

void FillData(const v1::ModelSpec& model, v1::DataSpec& data) {
  PARAMD_DEFAULT(data, order, v1::SAMPLE_ORDER_SHUFFLED);
  PARAMD_DEFAULT(data, division, v1::SAMPLE_DIVISION_BY_EXAMPLE);
  if (data.has_text()) {
    PARAMD_DEFAULT(*data.mutable_text(), tokenizer, v1::TOKENIZER_BYTES);
    PARAMD_DEFAULT(*data.mutable_text(), stride, model.gpt2().context());
  }
}

void FillTraining(v1::TrainingSpec& training) {
  PARAMD_DEFAULT(training, slots, 4);
  PARAMD_DEFAULT(training, micro_batch, 8);
  PARAMD_DEFAULT(training, report_every, 1);
  if (training.has_sample() && training.sample().prompt().empty()) training.mutable_sample()->set_prompt("\n");
}

void FillOptimizer(uint32_t steps, v1::OptimizerSpec& optimizer) {
  PARAMD_DEFAULT(optimizer, type, v1::OPTIMIZER_TYPE_ADAMW);
  PARAMD_DEFAULT(optimizer, non_finite, v1::NON_FINITE_POLICY_FAIL);
  switch (optimizer.type()) {
    case v1::OPTIMIZER_TYPE_MOMENTUM:
    case v1::OPTIMIZER_TYPE_NESTEROV:
      PARAMD_DEFAULT(optimizer, momentum, 0.9);
      break;
    case v1::OPTIMIZER_TYPE_ADAGRAD:
      PARAMD_DEFAULT(optimizer, epsilon, 1e-10);
      break;
    case v1::OPTIMIZER_TYPE_RMSPROP:
      PARAMD_DEFAULT(optimizer, rho, 0.99);
      PARAMD_DEFAULT(optimizer, epsilon, 1e-8);
      break;
    case v1::OPTIMIZER_TYPE_ADAM:
    case v1::OPTIMIZER_TYPE_ADAMW:
      PARAMD_DEFAULT(optimizer, beta1, 0.9);
      PARAMD_DEFAULT(optimizer, beta2, 0.999);
      PARAMD_DEFAULT(optimizer, epsilon, 1e-8);
      break;
    default:
      break;
  }
  v1::ScheduleSpec& schedule = *optimizer.mutable_schedule();
  PARAMD_DEFAULT(schedule, type, v1::SCHEDULE_TYPE_CONSTANT);
  if (schedule.type() == v1::SCHEDULE_TYPE_LINEAR || schedule.type() == v1::SCHEDULE_TYPE_COSINE) {
    PARAMD_DEFAULT(schedule, decay_steps, steps);
  }
  for (v1::ParameterGroup& group : *optimizer.mutable_groups()) {
    if (!group.has_learning_rate_scale()) group.set_learning_rate_scale(1);
  }
}

void FillCommunication(v1::CommunicationSpec& communication) {
  PARAMD_DEFAULT(communication, push_codec, v1::CODEC_FP32);
  PARAMD_DEFAULT(communication, pull_codec, v1::CODEC_FP32);
  PARAMD_DEFAULT(communication, topk_ratio, 0.01);
}

void FillResources(v1::ResourceSpec& resources) {
  PARAMD_DEFAULT(resources, workers, 1);
  PARAMD_DEFAULT(resources, servers, 1);
  PARAMD_DEFAULT(resources, chunk_elements, 262144);
}

#undef PARAMD_DEFAULT

const char* ModelType(const v1::ModelSpec& model) {
  switch (model.model_case()) {
    case v1::ModelSpec::kMlp:
      return "mlp";
    case v1::ModelSpec::kGpt2:
      return "gpt2";
    case v1::ModelSpec::MODEL_NOT_SET:
      break;
  }
  return "";
}

}  // namespace

void FillDefaults(v1::JobSpec& spec) {
  if (spec.name().empty()) spec.set_name(ModelType(spec.model()));
  if (spec.seed() == 0) spec.set_seed(1);
  if (spec.has_data()) FillData(spec.model(), *spec.mutable_data());
  const bool bytes = spec.data().has_text() && spec.data().text().tokenizer() == v1::TOKENIZER_BYTES;
  if (spec.has_model()) FillModel(*spec.mutable_model(), bytes);
  if (spec.has_training()) FillTraining(*spec.mutable_training());
  if (spec.sync().mode() == v1::SYNC_MODE_UNSPECIFIED) spec.mutable_sync()->set_mode(v1::SYNC_MODE_SYNC);
  if (spec.has_optimizer()) FillOptimizer(spec.training().steps(), *spec.mutable_optimizer());
  FillResources(*spec.mutable_resources());
  FillCommunication(*spec.mutable_communication());
  if (spec.checkpoint().keep() == 0) spec.mutable_checkpoint()->set_keep(3);
}

void FillDefaultsNotGiven(const GivenScalars& given, v1::JobSpec& spec) {
  if (spec.training().has_sample() && !given.contains("spec.training.sample.temperature")) {
    spec.mutable_training()->mutable_sample()->set_temperature(0.8f);
  }
  if (spec.data().has_text() && !given.contains("spec.data.text.validation_fraction")) {
    spec.mutable_data()->mutable_text()->set_validation_fraction(0.05f);
  }
  if (spec.sync().mode() == v1::SYNC_MODE_SSP && !given.contains("spec.sync.staleness")) {
    spec.mutable_sync()->set_staleness(3);
  }
  const v1::OptimizerType type = spec.optimizer().type();
  const bool adamw = type == v1::OPTIMIZER_TYPE_ADAMW || type == v1::OPTIMIZER_TYPE_UNSPECIFIED;
  if (spec.has_optimizer() && adamw && !given.contains("spec.optimizer.weight_decay")) {
    spec.mutable_optimizer()->set_weight_decay(0.01);
  }
}

}  // namespace paramd
