// From a job's spec to its data. Pure but for the files it reads.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Dataset> data, OpenDataset(spec));
#ifndef PARAMD_WORKER_DATA_OPEN_DATASET_H_
#define PARAMD_WORKER_DATA_OPEN_DATASET_H_

#include <memory>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"
#include "worker/data/dataset.h"

namespace paramd {

// Reads the data of a job whose spec is filled and valid. Every error names the file:
//   kNotFound, DATA_NOT_FOUND: a file does not exist;
//   kPermissionDenied, DATA_UNREADABLE: it cannot be read;
//   kInvalidArgument, DATA_INVALID: it is not what the spec says (empty, too short, truncated, of another format or
//   width); kResourceExhausted, DATA_TOO_LARGE: it is larger than a data set in memory may be.
absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const v1::JobSpec& spec);

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_OPEN_DATASET_H_
