// The directory with a job's checkpoints, `<output directory>/<job id>/checkpoints/`: one directory per step, each
// complete when it has its manifest.
//
//   // Every server, before it writes into <directory>/100:
//   RETURN_IF_ERROR(PrepareCheckpoint(directory, 100));
//   // The lead, once:
//   ASSIGN_OR_RETURN(CommittedCheckpoint done, CommitCheckpoint(plan, directory, 100, request, now, wanted));
//   ASSIGN_OR_RETURN(SelectedCheckpoint found, SelectCheckpoint("/output/job-1", 0));
//
// Block; thread safe for different checkpoints.
#ifndef PARAMD_SERVER_CHECKPOINT_CHECKPOINT_DIRECTORY_H_
#define PARAMD_SERVER_CHECKPOINT_CHECKPOINT_DIRECTORY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/cluster.pb.h"
#include "server/store/job_plan.h"

namespace paramd {

std::string CheckpointPath(const std::string& directory, uint64_t step);
// A server's file in a checkpoint's directory. With the generation, a server that was given up and does not know it yet
// writes over nothing of the job's next life.
std::string ShardPath(const std::string& path, uint32_t server_index, uint64_t generation);

// Makes the checkpoint's directory, without a manifest: what an earlier attempt has left there does not count any more.
absl::Status PrepareCheckpoint(const std::string& directory, uint64_t step);

struct CommittedCheckpoint {
  uint64_t bytes = 0;
  std::vector<uint64_t> removed;
};

// Looks at all shards, puts the manifest in place and removes what is not among the newest `request.keep()`, and
// checkpoints of later steps: the job has gone back and those are of a future that it has left; and the files that
// earlier generations have left beside this one's. What cannot be removed stays.
// kFailedPrecondition OUTPUT_NOT_SHARED when a server's file is not to be seen from here, or is another one; kDataLoss
// CHECKPOINT_INVALID when the files do not have each chunk once; kAborted CHECKPOINT_SUPERSEDED when `wanted` says no,
// which is asked last before the manifest, and once more before anything is removed.
absl::StatusOr<CommittedCheckpoint> CommitCheckpoint(const JobPlan& plan, const std::string& directory, uint64_t step,
                                                     const v1::CommitCheckpoint& request, absl::Time now,
                                                     const std::function<bool()>& wanted);

struct SelectedCheckpoint {
  std::string directory;
  uint64_t step = 0;
  uint64_t bytes = 0;
  std::vector<std::string> skipped;  // Newer ones that are damaged or incomplete: which, and why.
};

// The newest checkpoint of which every byte is good; with `step`, only that one will do. `from` is a checkpoint, a
// directory of checkpoints, or one with a directory "checkpoints" in it. kNotFound CHECKPOINT_NOT_FOUND when there is
// none at all; else, when none is good, the error of the newest, with what is wrong with the others.
absl::StatusOr<SelectedCheckpoint> SelectCheckpoint(const std::string& from, uint64_t step);

// Whether the checkpoint of the step is complete, as far as can be known: what cannot be read now is no proof against
// it.
bool MayBeComplete(const std::string& directory, uint64_t step);

// The manifest first, so that half of it is not taken for a checkpoint. Nothing there is fine.
absl::Status RemoveCheckpoint(const std::string& directory, uint64_t step);

}  // namespace paramd

#endif  // PARAMD_SERVER_CHECKPOINT_CHECKPOINT_DIRECTORY_H_
