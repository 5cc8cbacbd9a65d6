// Plain text as a sequence of byte tokens (0..255), cut into samples of `context` tokens.
//
// The files are concatenated in the order given. The last floor(tokens * validation_fraction) tokens are held out.
// Training sample i is tokens [i * stride, i * stride + context), its targets are the same shifted by one. Held-out
// samples follow each other without overlap (stride = context), so that each held-out token but the first counts once.
//
//   ASSIGN_OR_RETURN(auto data, TextDataset::Open({.files = {"austen.txt"}, .context = 128, .stride = 128}));
//
// Thread safe after opening. Memory: one byte per token.
#ifndef PARAMD_WORKER_DATA_TEXT_DATASET_H_
#define PARAMD_WORKER_DATA_TEXT_DATASET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/dataset.h"

namespace paramd {

// Tokens that the byte tokenizer knows.
inline constexpr int64_t kByteTokens = 256;
// All files of a text together.
inline constexpr int64_t kMaxTextBytes = int64_t{4} << 30;

struct TextDatasetOptions {
  std::vector<std::string> files;
  int64_t context = 0;             // Tokens per sample, > 0.
  int64_t stride = 0;              // Tokens between the starts of training samples, > 0.
  double validation_fraction = 0;  // [0, 0.5].
  int64_t vocab_size = kByteTokens;
  int64_t max_bytes = kMaxTextBytes;
};

class TextDataset final : public Dataset {
 public:
  // Errors as OpenDataset (open_dataset.h).
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const TextDatasetOptions& options);

  int64_t train_samples() const override { return train_samples_; }
  int64_t validation_samples() const override { return validation_samples_; }
  int64_t predictions_per_sample() const override { return options_.context; }
  // tokens and targets: [samples, context]; features stays empty.
  absl::Status Fill(Split split, absl::Span<const int64_t> samples, Batch& batch) const override;

  int64_t tokens() const { return static_cast<int64_t>(text_.size()); }

 private:
  explicit TextDataset(TextDatasetOptions options) : options_(std::move(options)) {}
  absl::Status ReadFiles();
  absl::Status CheckVocabulary() const;
  absl::Status CountSamples();

  const TextDatasetOptions options_;
  std::vector<uint8_t> text_;
  int64_t validation_start_ = 0;  // First held-out token.
  int64_t train_samples_ = 0;
  int64_t validation_samples_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_TEXT_DATASET_H_
