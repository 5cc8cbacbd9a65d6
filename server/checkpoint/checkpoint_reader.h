// A checkpoint on disk: one directory with manifest.json and the files that it names.
//
//   ASSIGN_OR_RETURN(const CheckpointReader reader, CheckpointReader::Open("/output/job-1/checkpoints/100"));
//   RETURN_IF_ERROR(reader.CheckMatches(plan));
//   ASSIGN_OR_RETURN(const ChunkRecord chunk, reader.ReadChunk(7));   // Every byte of it checked.
//   RETURN_IF_ERROR(reader.Verify());                                 // Every byte of all files.
//
// Damage is kDataLoss CHECKPOINT_INVALID and names the file and, where there is one, the chunk; a checkpoint of another
// model or optimizer kFailedPrecondition CHECKPOINT_MISMATCH; the rest are common/base/file.h's. Thread safe.
#ifndef PARAMD_SERVER_CHECKPOINT_CHECKPOINT_READER_H_
#define PARAMD_SERVER_CHECKPOINT_CHECKPOINT_READER_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/partition/arena_plan.h"
#include "server/checkpoint/checkpoint.pb.h"
#include "server/checkpoint/shard_file.h"
#include "server/store/job_plan.h"

namespace paramd {

class CheckpointReader {
 public:
  // Reads the manifest; the other files are opened when they are read.
  static absl::StatusOr<CheckpointReader> Open(std::string directory);

  const checkpoint::Manifest& manifest() const { return manifest_; }
  uint64_t bytes() const;  // Of all files but the manifest.

  // Whether a job of this plan can go on from here, at plan.first_step.
  absl::Status CheckMatches(const JobPlan& plan) const;
  absl::StatusOr<ChunkRecord> ReadChunk(int chunk) const;
  absl::Status Verify() const;

 private:
  CheckpointReader(std::string directory, checkpoint::Manifest manifest, ArenaPlan arena)
      : directory_(std::move(directory)), manifest_(std::move(manifest)), arena_(std::move(arena)) {}

  absl::StatusOr<RandomReadFile> OpenFile(const checkpoint::File& file) const;
  absl::StatusOr<ChunkRecord> ReadChunk(const RandomReadFile& file, int chunk) const;
  absl::Status VerifyFile(int index) const;

  std::string directory_;
  checkpoint::Manifest manifest_;
  ArenaPlan arena_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_CHECKPOINT_CHECKPOINT_READER_H_
