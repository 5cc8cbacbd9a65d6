// The engine of a coordinator that has standbys: it exists while this process leads.
//
//   ElectedEngine elected(options, etcd, clock, metrics, gate, [&](bool leads) { runner.SetServing(leads); });
//   elected.Start();
//   elected.Stop();      // resigns: a standby takes over at once
//
// One thread campaigns; when it wins it opens the store, reads the jobs back, opens the gate and ticks, until the
// leadership is lost or Stop. Then the gate closes before anything else, sessions and watches end with NOT_LEADER, and
// it campaigns again. A standby's gate names the leader.
//
// Start and Stop belong to one thread. Borrows everything; `on_lead` is called on the elected thread.
#ifndef PARAMD_SERVER_COORDINATOR_ELECTED_ENGINE_H_
#define PARAMD_SERVER_COORDINATOR_ELECTED_ENGINE_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/coordinator_gate.h"
#include "server/coordinator/coordinator_metrics.h"
#include "server/coordinator/etcd/etcd_client.h"
#include "server/coordinator/etcd/leadership.h"

namespace paramd {

struct ElectedEngineOptions {
  LeadershipOptions leadership;
  CoordinatorOptions engine;  // Without a term.
  absl::Duration tick = absl::Milliseconds(100);
};

class ElectedEngine {
 public:
  ElectedEngine(ElectedEngineOptions options, EtcdClient& etcd, const Clock& clock, CoordinatorMetrics& metrics,
                CoordinatorGate& gate, std::function<void(bool leads)> on_lead);
  ~ElectedEngine();  // Stops.

  void Start();
  // Idempotent.
  void Stop();

 private:
  struct Engine;

  void Run();
  void StandBy(const absl::Status& why);
  // Returns when the lead is over; errors are those of the store while it is read.
  absl::Status Lead(std::shared_ptr<Leadership> leadership);

  const ElectedEngineOptions options_;
  EtcdClient& etcd_;
  const Clock& clock_;
  CoordinatorMetrics& metrics_;
  CoordinatorGate& gate_;
  const std::function<void(bool)> on_lead_;
  absl::Notification stopping_;
  std::thread thread_;
  std::string said_;  // The newest reason for standing by, for the log. The thread's own.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_ELECTED_ENGINE_H_
