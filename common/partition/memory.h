// What a job's parameters cost a server, in one formula that placement and the server's own limit share.
//
//   int64_t bytes = plan.ChunkRange(chunk).size() * ServerBytesPerElement(spec.optimizer().type());
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

// Bytes per arena element of the chunks a server holds: the weight (4), the optimizer's state (4 each), the ledger with
// the gradient (8) and the published snapshots (8).
int64_t ServerBytesPerElement(v1::OptimizerType type);

}  // namespace paramd

#endif  // PARAMD_COMMON_PARTITION_MEMORY_H_
