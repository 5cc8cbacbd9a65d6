// torch.optim.Adam (weight decay added to the gradient) and torch.optim.AdamW (decoupled), without amsgrad.
//
//   Adam:  g = g + weight_decay * w          AdamW: w = w * (1 - lr * weight_decay)
//   m = m + (1 - beta1) * (g - m);   v = beta2 * v + (1 - beta2) * g * g
//   w = w - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon),   t = update count: 1, 2, ...
//
// Thread safe.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_ADAM_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_ADAM_H_

#include <string>
#include <vector>

#include "server/store/optimizer/optimizer.h"

namespace paramd {

class Adam final : public Optimizer {
 public:
  Adam(double beta1, double beta2, double epsilon, bool decoupled_decay)
      : beta1_(beta1), beta2_(beta2), epsilon_(epsilon), decoupled_decay_(decoupled_decay) {}
  std::vector<std::string> state_names() const override { return {"m", "v"}; }
  UpdateStep Prepare(const StepSettings& settings, Isa isa) const override;

 private:
  const double beta1_;
  const double beta2_;
  const double epsilon_;
  const bool decoupled_decay_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_ADAM_H_
