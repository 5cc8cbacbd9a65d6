#include "worker/data/text_dataset.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "worker/data/input_file.h"

namespace paramd {
namespace {

absl::Status Invalid(absl::string_view message, absl::string_view path) {
  return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID", message, {{"path", std::string(path)}});
}

// Samples of `context` tokens and one more target that start every `stride` of `tokens`.
int64_t SampleCount(int64_t tokens, int64_t context, int64_t stride) {
  return tokens < context + 1 ? 0 : (tokens - context - 1) / stride + 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> TextDataset::Open(const TextDatasetOptions& options) {
  if (options.files.empty()) return Invalid("spec.data.text.files: at least one file is needed", "");
  if (options.context < 1 || options.stride < 1) {
    return Invalid(absl::StrCat("text with context ", options.context, " and stride ", options.stride,
                                ": both must be at least 1"),
                   options.files[0]);
  }
  std::unique_ptr<TextDataset> dataset(new TextDataset(options));
  RETURN_IF_ERROR(dataset->ReadFiles());
  RETURN_IF_ERROR(dataset->CheckVocabulary());
  RETURN_IF_ERROR(dataset->CountSamples());
  return std::unique_ptr<Dataset>(std::move(dataset));
}

absl::Status TextDataset::ReadFiles() {
  for (const std::string& path : options_.files) {
    ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
    const int64_t room = options_.max_bytes - tokens();
    ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, file.Read(room + 1));
    if (bytes.empty()) return Invalid(absl::StrCat(path, " is empty"), path);
    if (static_cast<int64_t>(bytes.size()) > room) {
      return MakeError(absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE",
                       absl::StrCat("text is larger than ", options_.max_bytes, " bytes at ", path), {{"path", path}});
    }
    if (text_.empty()) {
      text_ = std::move(bytes);
    } else {
      text_.insert(text_.end(), bytes.begin(), bytes.end());
    }
  }
  return absl::OkStatus();
}

absl::Status TextDataset::CheckVocabulary() const {
  if (options_.vocab_size >= kByteTokens) return absl::OkStatus();
  const auto bad = std::find_if(text_.begin(), text_.end(), [&](uint8_t byte) { return byte >= options_.vocab_size; });
  if (bad == text_.end()) return absl::OkStatus();
  return Invalid(
      absl::StrCat("byte ", int{*bad}, " at offset ", bad - text_.begin(), " of ", absl::StrJoin(options_.files, " + "),
                   " is outside the model's vocabulary of ", options_.vocab_size),
      options_.files[0]);
}

absl::Status TextDataset::CountSamples() {
  const auto held_out = static_cast<int64_t>(static_cast<double>(tokens()) * options_.validation_fraction);
  validation_start_ = tokens() - held_out;
  train_samples_ = SampleCount(validation_start_, options_.context, options_.stride);
  validation_samples_ = SampleCount(held_out, options_.context, options_.context);
  const std::string names = absl::StrJoin(options_.files, " + ");
  if (train_samples_ == 0) {
    return Invalid(absl::StrCat(names, " is too short: ", validation_start_, " training tokens, one sample needs ",
                                options_.context + 1),
                   options_.files[0]);
  }
  if (options_.validation_fraction > 0 && validation_samples_ == 0) {
    return Invalid(
        absl::StrCat(names, " is too short for validation_fraction ", options_.validation_fraction, ": ", held_out,
                     " held-out tokens, one sample needs ", options_.context + 1, " (set it to 0 to hold nothing out)"),
        options_.files[0]);
  }
  return absl::OkStatus();
}

absl::Status TextDataset::Fill(Split split, absl::Span<const int64_t> samples, Batch& batch) const {
  const bool train = split == Split::kTrain;
  const int64_t context = options_.context;
  batch.examples = static_cast<int64_t>(samples.size());
  batch.features.clear();
  batch.tokens.resize(samples.size() * context);
  batch.targets.resize(samples.size() * context);
  for (size_t row = 0; row < samples.size(); ++row) {
    if (samples[row] < 0 || samples[row] >= this->samples(split)) {
      return absl::OutOfRangeError(absl::StrCat("sample ", samples[row], " of ", this->samples(split)));
    }
    const int64_t start = train ? samples[row] * options_.stride : validation_start_ + samples[row] * context;
    const uint8_t* text = text_.data() + start;
    std::copy(text, text + context, batch.tokens.begin() + row * context);
    std::copy(text + 1, text + 1 + context, batch.targets.begin() + row * context);
  }
  return absl::OkStatus();
}

}  // namespace paramd
