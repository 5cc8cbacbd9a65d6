#include "tests/framework/example_jobs.h"

#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"

namespace paramd {
namespace {

constexpr char kGptJob[] = R"yaml(
name: tiny-gpt
seed: 11
model: {gpt2: {layers: 2, heads: 2, hidden: 24, context: 20, dropout: 0.1}}
data: {text: {files: [$0], validation_fraction: 0.1}}
training: {steps: 20, slots: 4, micro_batch: 3, evaluate_every: 10, sample: {prompt: ab, tokens: 8}}
optimizer:
  type: adamw
  learning_rate: 0.01
  clip_norm: 0.5
  weight_decay: 0.1
  schedule: {type: cosine, warmup_steps: 5, minimum_ratio: 0.1}
  groups:
    - {match: ["wpe.weight"], weight_decay: 0, learning_rate_scale: 0.5}
resources: {workers: 1, servers: 1, chunk_elements: 1024}
)yaml";

constexpr char kClassifierJob[] = R"yaml(
name: tiny-classifier
model: {mlp: {widths: [16, 32, 4]}}
data: {idx: {train_images: $0, train_labels: $1, test_images: $0, test_labels: $1}}
training: {steps: 200, slots: 4, micro_batch: 8}
optimizer: {type: sgd, learning_rate: 0.1}
resources: {workers: 1, servers: 1, chunk_elements: 1024}
)yaml";

// `count` pseudorandom numbers below `bound`.
std::vector<int> Numbers(uint32_t stream, int count, int bound) {
  std::mt19937 engine(stream);
  std::vector<int> numbers(count);
  for (int& number : numbers) number = static_cast<int>(engine() % bound);
  return numbers;
}

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

absl::StatusOr<v1::JobSpec> Parse(const std::string& text) {
  ASSIGN_OR_RETURN(v1::JobSpec spec, ParseJobSpec(text));
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  return spec;
}

}  // namespace

absl::StatusOr<v1::JobSpec> TinyGptJob(const std::string& directory) {
  constexpr const char* kWords[] = {"ab", "bca ", "cab", "dd ", "ea\n"};
  std::string text;
  for (int number : Numbers(1, 4000, 5)) absl::StrAppend(&text, kWords[number]);
  const std::string path = directory + "/text.txt";
  RETURN_IF_ERROR(AtomicWriteFile(path, text));
  return Parse(absl::Substitute(kGptJob, path));
}

absl::StatusOr<v1::JobSpec> TinyClassifierJob(const std::string& directory) {
  constexpr int kSamples = 400, kPixels = 16, kClasses = 4;
  std::string images = BigEndian(0x803) + BigEndian(kSamples) + BigEndian(4) + BigEndian(4);
  std::string labels = BigEndian(0x801) + BigEndian(kSamples);
  const std::vector<int> noise = Numbers(2, kSamples * kPixels, 128);
  const std::vector<int> classes = Numbers(3, kSamples, kClasses);
  for (int i = 0; i < kSamples; ++i) {
    labels.push_back(static_cast<char>(classes[i]));
    for (int pixel = 0; pixel < kPixels; ++pixel) {
      const int bright = pixel / 4 == classes[i] ? 127 : 0;
      images.push_back(static_cast<char>(noise[i * kPixels + pixel] + bright));
    }
  }
  RETURN_IF_ERROR(AtomicWriteFile(directory + "/images.idx", images));
  RETURN_IF_ERROR(AtomicWriteFile(directory + "/labels.idx", labels));
  return Parse(absl::Substitute(kClassifierJob, directory + "/images.idx", directory + "/labels.idx"));
}

}  // namespace paramd
