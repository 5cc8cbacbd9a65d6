// A model program small enough to know all its bits: loss and gradients are simple functions of weights, batch and key,
// and everything a program promises (gate before use, gradients final one by one, padding 0) is kept. Tests only.
#ifndef PARAMD_WORKER_TRAIN_TOY_PROGRAM_H_
#define PARAMD_WORKER_TRAIN_TOY_PROGRAM_H_

#include <cstdint>
#include <functional>
#include <limits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "worker/models/model_program.h"

namespace paramd {

class ToyProgram final : public ModelProgram {
 public:
  explicit ToyProgram(const ArenaPlan& plan, int64_t vocab_size = 256) : plan_(plan), vocab_size_(vocab_size) {}

  // Makes the loss (and so the gradients) of a slot NaN.
  void set_poison(std::function<bool(const RunKey&)> poison) { poison_ = std::move(poison); }
  // Called at the start of every pass.
  void set_on_pass(std::function<void(const RunKey&)> on_pass) { on_pass_ = std::move(on_pass); }

  // The gradient of one element: depends on the weight, the batch and the key, in one fp32 expression.
  static float Gradient(float weight, int64_t element, float input, const RunKey& key) {
    const float noise = static_cast<float>((element * 2654435761u + key.step * 97 + key.slot * 31) % 1009);
    return weight * 0.25f + input * 0.01f + noise * 0.001f;
  }
  static float Input(const Batch& batch) {
    int64_t sum = 0;
    for (int32_t token : batch.tokens) sum += token;
    return static_cast<float>(sum % 4099) * 0.125f;
  }

  absl::StatusOr<LossSums> ForwardBackward(const Batch& batch, const RunKey& key, absl::Span<const float> weights,
                                           absl::Span<float> gradients, ParameterGate& gate,
                                           GradientSink& sink) override {
    if (on_pass_) on_pass_(key);
    const int parameters = static_cast<int>(plan_.parameters().size());
    double loss = 0;
    for (int p = 0; p < parameters; ++p) {
      if (absl::Status status = gate.WaitForParameter(p); !status.ok()) return status;
      for (int64_t i = plan_.ParameterRange(p).begin; i < plan_.ParameterRange(p).end; ++i) loss += weights[i];
    }
    const bool poisoned = poison_ && poison_(key);
    const float input = poisoned ? std::numeric_limits<float>::quiet_NaN() : Input(batch);
    for (int p = parameters - 1; p >= 0; --p) {
      const ElementRange range = plan_.ParameterRange(p);
      for (int64_t i = range.begin; i < range.end; ++i) gradients[i] = Gradient(weights[i], i, input, key);
      if (absl::Status status = sink.GradientFinal(p); !status.ok()) return status;
    }
    const auto count = static_cast<int64_t>(batch.targets.size());
    return LossSums{.loss_sum = (loss + input) * static_cast<double>(count), .count = count};
  }

  // Each prediction costs the weights' sum.
  absl::StatusOr<LossSums> Evaluate(const Batch& batch, absl::Span<const float> weights) override {
    double sum = 0;
    for (float weight : weights) sum += weight;
    const auto count = static_cast<int64_t>(batch.targets.size());
    return LossSums{.loss_sum = sum * static_cast<double>(count), .count = count, .correct = batch.examples};
  }

  // Prefers the token after the last one, then the one after that.
  absl::Status NextTokenLogits(absl::Span<const int32_t> tokens, absl::Span<const float> weights,
                               absl::Span<float> logits) override {
    if (tokens.empty()) return absl::InvalidArgumentError("no tokens");
    for (int64_t i = 0; i < vocab_size_; ++i) {
      const int64_t distance = (i - tokens.back() - 1 + vocab_size_) % vocab_size_;
      logits[i] = -static_cast<float>(distance) + weights[0];
    }
    return absl::OkStatus();
  }

  int64_t memory_bytes() const override { return 0; }

 private:
  const ArenaPlan& plan_;
  const int64_t vocab_size_;
  std::function<bool(const RunKey&)> poison_;
  std::function<void(const RunKey&)> on_pass_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_TOY_PROGRAM_H_
