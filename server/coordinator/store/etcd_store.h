// The store of coordinators with standbys: keys in etcd under a prefix, written by the one that leads.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenEtcdStore(etcd, leadership, "/paramd/"));
//
// Keys, all under the prefix; numbers have 20 digits:
//   schema                       "1"
//   leader                       leadership.h's
//   writer                       "TERM NUMBER" of the newest batch
//   jobs/ORDINAL                 serialized JobRecord
//   ids/JOB_ID                   the ordinal; stays when the job is deleted
//   requests/REQUEST_ID          the ordinal
//   events/JOB_ID/SEQUENCE       serialized JobEvent
//
// Fencing. A batch is one transaction, and takes effect only if (a) the key `leader` still has the create revision that
// is this leadership's term, (b) every job it changes has the modification revision that was read or written here last,
// and (c) so has `writer`. (a) shuts out a coordinator that was deposed, however late its request arrives. (c) makes it
// safe to send a batch again whose answer was lost: it is applied once, and `writer` says whether by an earlier
// attempt.
//
// When etcd is away or slow, Apply tries until it knows the outcome or the leadership is over, then gives the
// leadership up: what is in doubt is settled by whoever reads the store next. Reads try as long. Nothing is answered
// once the leadership may have ended (kUnavailable NOT_LEADER).
//
// Errors besides store.h's: NOT_LEADER as above; kAborted STORE_CONFLICT: somebody else wrote the keys, and the
// leadership is given up; kFailedPrecondition STORE_VERSION when opening; kResourceExhausted STORE_RECORD_TOO_LARGE:
// etcd takes 1.5 MiB in one request.
//
// Keeps a few dozen bytes per job in memory. Not thread safe. Borrows client and leadership.
#ifndef PARAMD_SERVER_COORDINATOR_STORE_ETCD_STORE_H_
#define PARAMD_SERVER_COORDINATOR_STORE_ETCD_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/coordinator/etcd/etcd_client.h"
#include "server/coordinator/etcd/leadership.h"
#include "server/coordinator/store/store.h"

namespace paramd {

// Reads what there is, and takes it over from the leader before.
absl::StatusOr<std::unique_ptr<Store>> OpenEtcdStore(EtcdClient& etcd, Leadership& leadership,
                                                     const std::string& prefix);

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_STORE_ETCD_STORE_H_
