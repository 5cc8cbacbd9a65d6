// torch.optim.RMSprop, not centered, with or without momentum.
//
//   g = g + weight_decay * w;   s = rho * s + (1 - rho) * g * g;   d = g / (sqrt(s) + epsilon)
//   momentum = 0: w = w - lr * d
//   momentum > 0: b = momentum * b + d;   w = w - lr * b
//
// Thread safe.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_RMSPROP_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_RMSPROP_H_

#include <string>
#include <vector>

#include "server/store/optimizer/optimizer.h"

namespace paramd {

class RmsProp final : public Optimizer {
 public:
  RmsProp(double rho, double epsilon, double momentum) : rho_(rho), epsilon_(epsilon), momentum_(momentum) {}
  std::vector<std::string> state_names() const override;
  UpdateStep Prepare(const StepSettings& settings, Isa isa) const override;

 private:
  const double rho_;
  const double epsilon_;
  const double momentum_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_RMSPROP_H_
