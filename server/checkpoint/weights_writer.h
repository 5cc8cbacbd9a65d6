// Writes a job's final weights: gathers all chunks, and puts <output directory>/<job id>/ with model.safetensors (one
// fp32 tensor per parameter, model order) and job.json (the filled spec) in place with one rename.
//
//   ASSIGN_OR_RETURN(v1::WeightsSaved saved, SaveWeights(plan, "/var/lib/paramd/output", fetch));
//
// Weights of the same job are replaced, each file at once: an earlier life of it has saved them, and its training was
// begun again. Blocks; thread safe. Needs memory for the whole arena while it runs.
#ifndef PARAMD_SERVER_CHECKPOINT_WEIGHTS_WRITER_H_
#define PARAMD_SERVER_CHECKPOINT_WEIGHTS_WRITER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/credentials.h"
#include "proto/cluster.pb.h"
#include "proto/parameter.pb.h"
#include "server/store/job_plan.h"

namespace paramd {

using ChunkSink = std::function<absl::Status(const v1::FetchChunksResponse& chunk)>;
// Gives the sink all chunks of one server of the placement, and passes on its error.
using ChunkFetcher = std::function<absl::Status(uint32_t server_index, const ChunkSink& sink)>;
// Whether this server is still the one to save the job's weights.
using SaveWanted = std::function<bool()>;

// `default_directory` counts when the spec has no output directory. kDataLoss (CHECKSUM_MISMATCH, CHUNK_MISSING) for
// what the servers sent; kFailedPrecondition (VERSIONS_DIFFER) when the chunks of a sync job are at different steps;
// kAlreadyExists when the directory holds another job's weights or anything else; kAborted SAVE_SUPERSEDED when
// `wanted` says no, which is asked with each chunk, and last before the weights are put in place; the errors of
// common/base/file.h, of the fetcher. Null `wanted`: always.
absl::StatusOr<v1::WeightsSaved> SaveWeights(const JobPlan& plan, const std::string& default_directory,
                                             const ChunkFetcher& fetch, const SaveWanted& wanted = nullptr);

// A fetcher over ParameterService.FetchChunks of the servers in the plan's placement, which tries again for `timeout`
// while one is unavailable and `wanted` says yes; else kAborted SAVE_SUPERSEDED. Null `credentials`: plain text.
ChunkFetcher RemoteChunkFetcher(const JobPlan& plan, absl::Duration timeout,
                                std::shared_ptr<const Credentials> credentials = nullptr, SaveWanted wanted = nullptr);

}  // namespace paramd

#endif  // PARAMD_SERVER_CHECKPOINT_WEIGHTS_WRITER_H_
