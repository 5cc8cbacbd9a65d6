// Gradient descent: torch.optim.SGD without and with momentum (dampening 0), classic or Nesterov.
//
//   g = g + weight_decay * w
//   plain:    w = w - lr * g
//   momentum: b = momentum * b + g;   w = w - lr * b
//   Nesterov: b = momentum * b + g;   w = w - lr * (g + momentum * b)
//
// Thread safe.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_SGD_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_SGD_H_

#include <string>
#include <vector>

#include "server/store/optimizer/optimizer.h"

namespace paramd {

class Sgd final : public Optimizer {
 public:
  std::vector<std::string> state_names() const override { return {}; }
  UpdateStep Prepare(const StepSettings& settings, Isa isa) const override;
};

class MomentumSgd final : public Optimizer {
 public:
  MomentumSgd(double momentum, bool nesterov) : momentum_(static_cast<float>(momentum)), nesterov_(nesterov) {}
  std::vector<std::string> state_names() const override { return {"momentum"}; }
  UpdateStep Prepare(const StepSettings& settings, Isa isa) const override;

 private:
  const float momentum_;
  const bool nesterov_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_SGD_H_
