// The default store: one SQLite file in WAL mode with synchronous=FULL, so what Apply() acknowledged survives a power
// cut.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenSqliteStore("/var/lib/paramd/paramd.db"));
//
// Schema (version 1, table schema_version):
//   jobs(ordinal PRIMARY KEY, job_id UNIQUE, request_id UNIQUE or NULL, state, record)   record: serialized JobRecord
//   events(job_id, sequence, event, PRIMARY KEY(job_id, sequence))                       event: serialized JobEvent
//   used_job_ids(job_id PRIMARY KEY)
// The connection holds an exclusive lock while it is open: two coordinators never share one file.
#ifndef PARAMD_SERVER_COORDINATOR_STORE_SQLITE_STORE_H_
#define PARAMD_SERVER_COORDINATOR_STORE_SQLITE_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/coordinator/store/store.h"

namespace paramd {

// Opens or creates the file. kUnavailable STORE_UNAVAILABLE: not writable, or another process has it open. kDataLoss
// STORE_CORRUPT: not a database, or one that fails its quick check. kFailedPrecondition STORE_VERSION: written by a
// newer paramd.
absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path);

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_STORE_SQLITE_STORE_H_
