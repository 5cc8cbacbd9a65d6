// Text from a language model: one token after the other, each drawn from the model's prediction given all before it (at
// most `context` of them).
//
//   Generator generator(program, weights, {.context = 128, .vocab_size = 256});
//   RETURN_IF_ERROR(generator.Generate(prompt, {.max_tokens = 100, .temperature = 0.8f, .seed = 1},
//                                      [&](int32_t token) { ...; return absl::OkStatus(); }));
//
// The same seed, options, weights and device give the same tokens: the n-th draw takes the n-th number of the Philox
// stream of the seed. One thread at a time (the program's). Borrows program and weights.
#ifndef PARAMD_WORKER_INFER_GENERATOR_H_
#define PARAMD_WORKER_INFER_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "worker/models/model_program.h"

namespace paramd {

struct GeneratorModel {
  int64_t context = 0;
  int64_t vocab_size = 0;
};

struct GenerateOptions {
  int64_t max_tokens = 0;
  float temperature = 0;  // >= 0; 0 takes the likeliest token, the lowest of equals.
  int64_t top_k = 0;      // Draw among the k likeliest tokens; 0: all.
  uint64_t seed = 1;
};

// Draws from softmax(logits / temperature) over the top_k likeliest; `uniform` in [0, 1) picks. kInvalidArgument when a
// logit is not finite: the weights are no good.
absl::StatusOr<int32_t> SampleToken(absl::Span<const float> logits, const GenerateOptions& options, float uniform);

class Generator {
 public:
  using TokenSink = std::function<absl::Status(int32_t token)>;

  Generator(ModelProgram& program, absl::Span<const float> weights, GeneratorModel model);

  // Calls `sink` with each new token, max_tokens of them; its error ends the generation and is returned. An empty
  // prompt counts as a newline. kInvalidArgument: a token outside the vocabulary.
  absl::Status Generate(absl::Span<const int32_t> prompt, const GenerateOptions& options, const TokenSink& sink);

  // The same for byte tokens: text in, text out as whole UTF-8 characters.
  absl::Status GenerateText(absl::string_view prompt, const GenerateOptions& options,
                            const std::function<absl::Status(absl::string_view piece, int64_t tokens)>& sink);

 private:
  ModelProgram& program_;
  const absl::Span<const float> weights_;
  const GeneratorModel model_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_INFER_GENERATOR_H_
