#include "worker/infer/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"
#include "worker/infer/utf8_assembler.h"

namespace paramd {
namespace {

// The tokens that take part, likeliest first; equals in the order of their numbers.
std::vector<int32_t> Candidates(absl::Span<const float> logits, int64_t top_k) {
  std::vector<int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  const auto count = static_cast<size_t>(top_k);
  if (top_k > 0 && count < tokens.size()) {
    std::partial_sort(tokens.begin(), tokens.begin() + top_k, tokens.end(), likelier);
    tokens.resize(count);
  } else {
    std::sort(tokens.begin(), tokens.end(), likelier);
  }
  return tokens;
}

}  // namespace

absl::StatusOr<int32_t> SampleToken(absl::Span<const float> logits, const GenerateOptions& options, float uniform) {
  for (float logit : logits) {
    if (!std::isfinite(logit)) {
      return MakeError(absl::StatusCode::kInvalidArgument, "NON_FINITE_LOGITS",
                       "the model predicts values that are not finite");
    }
  }
  if (options.temperature == 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  const std::vector<int32_t> tokens = Candidates(logits, options.top_k);
  std::vector<double> weights;
  double total = 0;
  for (int32_t token : tokens) {
    // The likeliest has weight 1, so nothing overflows and the total is at least 1.
    weights.push_back(std::exp((double{logits[token]} - double{logits[tokens[0]]}) / double{options.temperature}));
    total += weights.back();
  }
  double left = double{uniform} * total;
  for (size_t i = 0; i < tokens.size(); ++i) {
    left -= weights[i];
    if (left < 0) return tokens[i];
  }
  return tokens.back();  // Rounding only.
}

Generator::Generator(ModelProgram& program, absl::Span<const float> weights, GeneratorModel model)
    : program_(program), weights_(weights), model_(model) {}

absl::Status Generator::Generate(absl::Span<const int32_t> prompt, const GenerateOptions& options,
                                 const TokenSink& sink) {
  std::vector<int32_t> tokens(prompt.begin(), prompt.end());
  if (tokens.empty()) tokens.push_back('\n');
  for (int32_t token : tokens) {
    if (token < 0 || token >= model_.vocab_size) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "INVALID_PROMPT",
          absl::StrCat("token ", token, " of the prompt is outside the vocabulary of ", model_.vocab_size));
    }
  }
  std::vector<float> logits(model_.vocab_size);
  Philox random(options.seed, RandomStream::kTextSampling);
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const size_t window = std::min(tokens.size(), static_cast<size_t>(model_.context));
    RETURN_IF_ERROR(
        program_.NextTokenLogits(absl::MakeConstSpan(tokens).last(window), weights_, absl::MakeSpan(logits)));
    ASSIGN_OR_RETURN(const int32_t token, SampleToken(logits, options, random.Uniform()));
    RETURN_IF_ERROR(sink(token));
    tokens.push_back(token);
    // Only the last `context` tokens are looked at again.
    if (static_cast<int64_t>(tokens.size()) > 2 * model_.context)
      tokens.erase(tokens.begin(), tokens.end() - model_.context);
  }
  return absl::OkStatus();
}

absl::Status Generator::GenerateText(absl::string_view prompt, const GenerateOptions& options,
                                     const std::function<absl::Status(absl::string_view, int64_t)>& sink) {
  std::vector<int32_t> tokens;
  for (char byte : prompt) tokens.push_back(static_cast<uint8_t>(byte));
  Utf8Assembler text;
  int64_t count = 0;
  RETURN_IF_ERROR(Generate(tokens, options, [&](int32_t token) {
    ++count;
    // A model may know more tokens than there are bytes; it was never shown one.
    const std::string piece = token < 256 ? text.Add(static_cast<uint8_t>(token)) : text.Finish() + "\xEF\xBF\xBD";
    return piece.empty() ? absl::OkStatus() : sink(piece, count);
  }));
  const std::string rest = text.Finish();
  return rest.empty() ? absl::OkStatus() : sink(rest, count);
}

}  // namespace paramd
