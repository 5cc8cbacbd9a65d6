#include "server/store/optimizer/optimizer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/store/optimizer/adagrad.h"
#include "server/store/optimizer/adam.h"
#include "server/store/optimizer/rmsprop.h"
#include "server/store/optimizer/sgd.h"

namespace paramd {

namespace {

absl::Status Invalid(const char* field, const char* rule, double value) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC",
                   absl::StrCat("spec.optimizer.", field, ": must be ", rule, ", got ", value),
                   {{"path", absl::StrCat("spec.optimizer.", field)}});
}

absl::Status CheckFraction(const char* field, double value) {
  return value >= 0 && value < 1 ? absl::OkStatus() : Invalid(field, "in [0, 1)", value);
}

absl::Status CheckCoefficients(const v1::OptimizerSpec& spec) {
  RETURN_IF_ERROR(CheckFraction("momentum", spec.momentum()));
  RETURN_IF_ERROR(CheckFraction("beta1", spec.beta1()));
  RETURN_IF_ERROR(CheckFraction("beta2", spec.beta2()));
  RETURN_IF_ERROR(CheckFraction("rho", spec.rho()));
  const bool uses_epsilon = spec.type() >= v1::OPTIMIZER_TYPE_ADAGRAD;
  if (uses_epsilon && !(spec.epsilon() > 0)) return Invalid("epsilon", "> 0", spec.epsilon());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Optimizer>> CreateOptimizer(const v1::OptimizerSpec& spec) {
  RETURN_IF_ERROR(CheckCoefficients(spec));
  std::unique_ptr<const Optimizer> optimizer;
  switch (spec.type()) {
    case v1::OPTIMIZER_TYPE_SGD:
      optimizer = std::make_unique<Sgd>();
      break;
    case v1::OPTIMIZER_TYPE_MOMENTUM:
    case v1::OPTIMIZER_TYPE_NESTEROV:
      optimizer = std::make_unique<MomentumSgd>(spec.momentum(), spec.type() == v1::OPTIMIZER_TYPE_NESTEROV);
      break;
    case v1::OPTIMIZER_TYPE_ADAGRAD:
      optimizer = std::make_unique<Adagrad>(spec.epsilon());
      break;
    case v1::OPTIMIZER_TYPE_RMSPROP:
      optimizer = std::make_unique<RmsProp>(spec.rho(), spec.epsilon(), spec.momentum());
      break;
    case v1::OPTIMIZER_TYPE_ADAM:
    case v1::OPTIMIZER_TYPE_ADAMW:
      optimizer =
          std::make_unique<Adam>(spec.beta1(), spec.beta2(), spec.epsilon(), spec.type() == v1::OPTIMIZER_TYPE_ADAMW);
      break;
    default:
      return Invalid("type", "a known optimizer", spec.type());
  }
  return optimizer;
}

std::string OptimizerName(v1::OptimizerType type) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::OptimizerType_Name(type), "OPTIMIZER_TYPE_"));
}

}  // namespace paramd
