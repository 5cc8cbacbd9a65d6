#include "common/config/validate_optimizer.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/config/enum_names.h"
#include "common/config/validate_communication.h"

namespace paramd {
namespace {

constexpr char kPath[] = "spec.optimizer";

// Which parameters a type uses, besides learning_rate and weight_decay.
struct Uses {
  bool momentum = false;
  bool betas = false;
  bool epsilon = false;
  bool rho = false;
};

Uses UsesOf(v1::OptimizerType type) {
  switch (type) {
    case v1::OPTIMIZER_TYPE_MOMENTUM:
    case v1::OPTIMIZER_TYPE_NESTEROV:
      return {.momentum = true};
    case v1::OPTIMIZER_TYPE_ADAGRAD:
      return {.epsilon = true};
    case v1::OPTIMIZER_TYPE_RMSPROP:
      return {.momentum = true, .epsilon = true, .rho = true};
    case v1::OPTIMIZER_TYPE_ADAM:
    case v1::OPTIMIZER_TYPE_ADAMW:
      return {.betas = true, .epsilon = true};
    default:
      return {};
  }
}

std::string TypeName(v1::OptimizerType type) {
  const auto* value = v1::OptimizerType_descriptor()->FindValueByNumber(type);
  return value == nullptr ? absl::StrCat(static_cast<int>(type)) : ShortName(*value);
}

class OptimizerRules {
 public:
  OptimizerRules(const v1::OptimizerSpec& optimizer, Violations& violations)
      : optimizer_(optimizer), violations_(violations) {}

  void Run(uint32_t steps) {
    const Uses uses = UsesOf(optimizer_.type());
    Require(optimizer_.learning_rate() > 0, "learning_rate", "must be > 0", optimizer_.learning_rate());
    Fraction("momentum", optimizer_.momentum(), uses.momentum);
    Fraction("beta1", optimizer_.beta1(), uses.betas);
    Fraction("beta2", optimizer_.beta2(), uses.betas);
    Fraction("rho", optimizer_.rho(), uses.rho);
    if (uses.epsilon) {
      Require(optimizer_.epsilon() > 0, "epsilon", "must be > 0", optimizer_.epsilon());
    } else {
      Unused("epsilon", optimizer_.epsilon());
    }
    Require(optimizer_.weight_decay() >= 0, "weight_decay", "must be >= 0", optimizer_.weight_decay());
    Require(optimizer_.clip_norm() >= 0, "clip_norm", "must be >= 0", optimizer_.clip_norm());
    Schedule(optimizer_.schedule(), steps);
    for (int i = 0; i < optimizer_.groups_size(); ++i) Group(optimizer_.groups(i), absl::StrCat("groups[", i, "]"));
  }

 private:
  template <typename T>
  void Require(bool holds, absl::string_view field, absl::string_view rule, T got) {
    if (!holds) violations_.Add(absl::StrCat(kPath, ".", field), absl::StrCat(rule, ", got ", got));
  }

  void Unused(absl::string_view field, double value) {
    Require(value == 0, field, absl::StrCat("is not used by ", TypeName(optimizer_.type()), "; leave it out"), value);
  }

  void Fraction(absl::string_view field, double value, bool used) {
    if (!used) return Unused(field, value);
    Require(value >= 0 && value < 1, field, "must be in [0, 1)", value);
  }

  void Schedule(const v1::ScheduleSpec& schedule, uint32_t steps) {
    Require(schedule.warmup_steps() <= steps, "schedule.warmup_steps",
            absl::StrCat("must be <= training.steps (", steps, ")"), schedule.warmup_steps());
    const bool decays = schedule.type() == v1::SCHEDULE_TYPE_LINEAR || schedule.type() == v1::SCHEDULE_TYPE_COSINE;
    constexpr char kUnused[] = "is used by the schedules linear and cosine only; leave it out";
    if (!decays) {
      Require(schedule.decay_steps() == 0, "schedule.decay_steps", kUnused, schedule.decay_steps());
      Require(schedule.minimum_ratio() == 0, "schedule.minimum_ratio", kUnused, schedule.minimum_ratio());
      return;
    }
    Require(schedule.decay_steps() > schedule.warmup_steps(), "schedule.decay_steps",
            absl::StrCat("must be > warmup_steps (", schedule.warmup_steps(), ")"), schedule.decay_steps());
    Require(schedule.minimum_ratio() >= 0 && schedule.minimum_ratio() <= 1, "schedule.minimum_ratio",
            "must be in [0, 1]", schedule.minimum_ratio());
  }

  void Group(const v1::ParameterGroup& group, const std::string& path) {
    Require(group.match_size() > 0, absl::StrCat(path, ".match"), "needs a pattern at least", group.match_size());
    for (int i = 0; i < group.match_size(); ++i) {
      Require(!group.match(i).empty(), absl::StrCat(path, ".match[", i, "]"), "must not be empty", "\"\"");
    }
    Require(group.weight_decay() >= 0, absl::StrCat(path, ".weight_decay"), "must be >= 0", group.weight_decay());
    Require(group.learning_rate_scale() >= 0, absl::StrCat(path, ".learning_rate_scale"), "must be >= 0",
            group.learning_rate_scale());
    if (group.push_codec() != v1::CODEC_UNSPECIFIED) {
      ValidatePushCodec(group.push_codec(), absl::StrCat(kPath, ".", path, ".push_codec"), violations_);
    }
  }

  const v1::OptimizerSpec& optimizer_;
  Violations& violations_;
};

}  // namespace

void ValidateOptimizer(const v1::OptimizerSpec& optimizer, uint32_t steps, Violations& violations) {
  OptimizerRules(optimizer, violations).Run(steps);
}

}  // namespace paramd
