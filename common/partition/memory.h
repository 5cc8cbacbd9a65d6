// What a job's parameters cost a server, in one formula that placement and the server's own limit share.
//
//   int64_t bytes = plan.ChunkRange(chunk).size() * ServerBytesPerElement(spec);
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_PARTITION_MEMORY_H_
#define PARAMD_COMMON_PARTITION_MEMORY_H_

#include <cstdint>

#include "proto/job.pb.h"

namespace paramd {

// fp32 values that the optimizer keeps beside each weight: 0, 1 or 2. RMSPROP counts its momentum buffer whether used
// or not; an unset type counts as ADAMW, the default.
int OptimizerStateCount(v1::OptimizerType type);

// The most subtree sums of a chunk that wait for their siblings in a server's ledger at a time, in SYNC mode, when each
// worker pushes the fewest subtrees that its slots make up; at least one when the sum of all has to wait for the norm
// of the whole gradient. 0 in the other modes, which keep no sums.
int LedgerSums(const v1::JobSpec& spec);

// Bytes per arena element of the chunks a server holds for a job whose spec is filled: the published weights and the
// version before them, which answers on their way still hold (4 each, 2 more each when pulled in BF16), the optimizer's
// state (4 each), the ledger (4 for each sum), and weights and state once more in a job that takes checkpoints as it
// goes on. What one push of a compressed gradient is decoded into comes once
// per owner thread and is left out.
int64_t ServerBytesPerElement(const v1::JobSpec& spec);

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_MEMORY_H_
