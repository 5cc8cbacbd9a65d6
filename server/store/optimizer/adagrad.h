// torch.optim.Adagrad without learning-rate decay, accumulator starting at 0.
//
//   g = g + weight_decay * w;   s = s + g * g;   w = w - lr * g / (sqrt(s) + epsilon)
//
// Thread safe.
#ifndef PARAMD_SERVER_STORE_OPTIMIZER_ADAGRAD_H_
#define PARAMD_SERVER_STORE_OPTIMIZER_ADAGRAD_H_

#include <string>
#include <vector>

#include "server/store/optimizer/optimizer.h"

namespace paramd {

class Adagrad final : public Optimizer {
 public:
  explicit Adagrad(double epsilon) : epsilon_(static_cast<float>(epsilon)) {}
  std::vector<std::string> state_names() const override { return {"sum"}; }
  UpdateStep Prepare(const StepSettings& settings, Isa isa) const override;

 private:
  const float epsilon_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_OPTIMIZER_ADAGRAD_H_
