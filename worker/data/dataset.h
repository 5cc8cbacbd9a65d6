// What a job is trained and evaluated on: samples with an index, copied into batches.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Dataset> data, OpenDataset(spec));      // open_dataset.h
//   RETURN_IF_ERROR(data->Fill(Dataset::Split::kTrain, {3, 1, 4}, batch));
//
// A data set is read whole into memory when opened and immutable afterwards: all methods are thread safe. Which samples
// a slot takes is the sampler's matter (sampler.h).
#ifndef PARAMD_WORKER_DATA_DATASET_H_
#define PARAMD_WORKER_DATA_DATASET_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/data/batch.h"

namespace paramd {

class Dataset {
 public:
  enum class Split { kTrain, kValidation };

  virtual ~Dataset() = default;

  // Samples in the training split, > 0, and in the held-out one, 0 when there is none.
  virtual int64_t train_samples() const = 0;
  virtual int64_t validation_samples() const = 0;
  // Predictions that one sample holds: tokens of a text sample, 1 for an image.
  virtual int64_t predictions_per_sample() const = 0;

  // Makes `batch` hold exactly `samples`, in this order. kOutOfRange when an index is not in the split.
  virtual absl::Status Fill(Split split, absl::Span<const int64_t> samples, Batch& batch) const = 0;

  int64_t samples(Split split) const { return split == Split::kTrain ? train_samples() : validation_samples(); }
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_DATASET_H_
