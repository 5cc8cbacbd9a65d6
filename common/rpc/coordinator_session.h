// A daemon's side of ClusterService.Session: registers, keeps the lease, delivers commands, keeps reports until they
// are acknowledged, reconnects with backoff, and notices when its own lease is gone.
//
//   CoordinatorSession session(options, handler);
//   session.Start();
//   session.Report(report);       // any thread
//   session.Stop("SIGTERM");      // sends Goodbye
//
// The lease ends Welcome.lease_ms after the sending of the last heartbeat that was acknowledged (or of the
// registration), so never later here than at the coordinator. A stream that breaks does not end it. When it ends,
// OnLeaseLost is called once and the daemon registers again with the same incarnation. Without a lease for another
// `orphan_timeout`, or when more reports wait than ReportBuffer holds, OnOrphaned follows.
//
// Of several coordinators it finds the one that leads by asking them in turn and following what standbys say, and looks
// for another when the leader does not acknowledge heartbeats for a while. A coordinator whose term is lower than one
// it was welcomed in before is left: it was deposed. An orphan takes any.
//
// Threading: one thread of its own calls the handler's methods, one at a time; they must not block. Report, welcomed(),
// leased(), lease_lost() and SetMemoryUsed are thread safe; leased() and lease_lost() are cheap enough for every
// message.
#ifndef PARAMD_COMMON_RPC_COORDINATOR_SESSION_H_
#define PARAMD_COMMON_RPC_COORDINATOR_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/channel.h"
#include "proto/cluster.pb.h"

namespace paramd {

class CoordinatorSessionHandler {
 public:
  virtual ~CoordinatorSessionHandler() = default;
  // A command about a job (PrepareServer ... ReleaseJob).
  virtual void OnCommand(const v1::CoordinatorMessage& command) = 0;
  // The lease ran out without an acknowledged heartbeat: the coordinator may have given the daemon's jobs to others, so
  // nobody may be served from now until OnWelcome.
  virtual void OnLeaseLost() = 0;
  // Nobody has renewed the lease for the orphan timeout: all jobs must be dropped.
  virtual void OnOrphaned() = 0;
  // Welcomed (again) by a coordinator: the daemon is part of the cluster.
  virtual void OnWelcome() = 0;
  // The coordinator refused the registration for good (duplicate id, protocol): the daemon must exit with this error.
  virtual void OnRefused(const absl::Status& status) = 0;
  // Jobs held now, for the registration.
  virtual std::vector<v1::HeldJob> HeldJobs() = 0;
};

struct CoordinatorSessionOptions {
  std::string coordinator_address;                 // host:port, or several separated by commas.
  std::shared_ptr<const Credentials> credentials;  // TLS. Null: plain text.
  v1::Register registration;                       // Without held_jobs.
  // From the lease's end until its jobs are dropped. Until then they are kept for a coordinator that comes back and
  // still counts on them.
  absl::Duration orphan_timeout = absl::ZeroDuration();
  // Training may stand still until a coordinator that was away has heard of all its daemons.
  RetryOptions reconnect = {.max_backoff = absl::Seconds(1), .total = absl::InfiniteDuration()};
};

class CoordinatorSession {
 public:
  // `handler` must outlive the session.
  CoordinatorSession(CoordinatorSessionOptions options, CoordinatorSessionHandler& handler);
  ~CoordinatorSession();  // Stops, if running.

  void Start();
  // Sends Goodbye when connected, waits at most two seconds for the coordinator to close, then ends the thread. No
  // handler call after it returns. Idempotent. Not from a handler's method.
  void Stop(const std::string& reason);

  // Reports that carry progress (worker or server) or a trace may be dropped when not connected; all others are
  // numbered, kept, and sent again after a reconnection until acknowledged.
  void Report(v1::JobReport report);
  void SetMemoryUsed(uint64_t bytes);
  // Whether a lease is held, as far as the session's thread has noticed.
  bool welcomed() const;
  // Whether a lease is held at this moment: also right after the process stood still.
  bool leased() const;
  // Whether one was held before and is not at this moment.
  bool lease_lost() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_COORDINATOR_SESSION_H_
