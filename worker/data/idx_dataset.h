// Images and labels in IDX files (MNIST's format), plain or gzip-compressed by name (*.gz).
//
// Format (all integers big-endian): images: magic 0x00000803, count, rows, columns, then count * rows * columns bytes;
// labels: magic 0x00000801, count, then count bytes. Nothing may follow. A feature is the pixel scaled to [0, 1] and
// normalised with mean 0.5 and deviation 0.5, (pixel / 255 - 0.5) / 0.5, so in [-1, 1].
//
//   ASSIGN_OR_RETURN(auto data, IdxDataset::Open({.train_images = ..., .inputs = 784, .classes = 10}));
//
// Thread safe after opening. Memory: one byte per pixel.
#ifndef PARAMD_WORKER_DATA_IDX_DATASET_H_
#define PARAMD_WORKER_DATA_IDX_DATASET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/dataset.h"

namespace paramd {

// Pixels of one image file.
inline constexpr int64_t kMaxIdxBytes = int64_t{4} << 30;

struct IdxDatasetOptions {
  std::string train_images;
  std::string train_labels;
  std::string test_images;  // With test_labels, or both empty: nothing is held out.
  std::string test_labels;
  int64_t inputs = 0;   // What rows * columns must be.
  int64_t classes = 0;  // Labels are below it.
  int64_t max_bytes = kMaxIdxBytes;
};

class IdxDataset final : public Dataset {
 public:
  // Errors as OpenDataset (open_dataset.h).
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const IdxDatasetOptions& options);

  int64_t train_samples() const override { return static_cast<int64_t>(train_.labels.size()); }
  int64_t validation_samples() const override { return static_cast<int64_t>(test_.labels.size()); }
  int64_t predictions_per_sample() const override { return 1; }
  // features: [samples, inputs]; targets: [samples]; tokens stays empty.
  absl::Status Fill(Split split, absl::Span<const int64_t> samples, Batch& batch) const override;

 private:
  struct Images {
    std::vector<uint8_t> pixels;  // [labels.size(), inputs].
    std::vector<uint8_t> labels;
  };

  IdxDataset(int64_t inputs, Images train, Images test);
  static absl::StatusOr<Images> Load(const std::string& image_path, const std::string& label_path,
                                     const IdxDatasetOptions& options);

  const int64_t inputs_;
  const Images train_;
  const Images test_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_IDX_DATASET_H_
