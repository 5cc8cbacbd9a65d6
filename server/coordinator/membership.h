// Who belongs to the cluster: nodes by id, one incarnation each, alive while their lease is renewed.
//
//   Membership membership(clock, {.lease = absl::Seconds(10)});
//   RETURN_IF_ERROR(membership.Register(registration));
//   RETURN_IF_ERROR(membership.Renew("worker-1", incarnation, memory_used));   // each heartbeat
//   membership.Expire();                                                        // each tick
//   if (membership.Liveness("worker-1", incarnation) == NodeLiveness::kGone) ...
//
// A pure core: no threads, no I/O; time comes from the Clock. Not thread safe. Bounded: LOST and LEFT nodes are
// forgotten after `forget_after`, and at most `max_nodes` are held.
#ifndef PARAMD_SERVER_COORDINATOR_MEMBERSHIP_H_
#define PARAMD_SERVER_COORDINATOR_MEMBERSHIP_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "proto/cluster.pb.h"

namespace paramd {

inline constexpr uint32_t kClusterProtocol = 1;  // Register.protocol.

struct MembershipOptions {
  absl::Duration lease = absl::Seconds(10);
  absl::Duration forget_after = absl::Hours(24);
  size_t max_nodes = 10000;
};

struct NodeRecord {
  v1::Register registration;  // Without held_jobs.
  v1::NodeState state = v1::NODE_STATE_READY;
  absl::Time register_time;
  absl::Time last_heartbeat;
  absl::Time end_time;  // When it became LOST or LEFT.
  uint64_t memory_used_bytes = 0;
};

enum class NodeLiveness {
  kAlive,
  kUnknown,  // Neither this incarnation nor a newer one has registered.
  kGone,     // Lease ended, left, or replaced by a newer incarnation: for ever.
};

class Membership {
 public:
  Membership(const Clock& clock, MembershipOptions options);

  // Adds the node, or renews it when this incarnation is known. A newer incarnation takes the node_id over at once.
  // kInvalidArgument INVALID_REGISTRATION; kFailedPrecondition CLIENT_TOO_OLD, CLIENT_TOO_NEW, INCARNATION_FENCED (a
  // newer one is registered); kAlreadyExists NODE_ID_IN_USE (same incarnation, another role); kResourceExhausted
  // TOO_MANY_NODES.
  absl::Status Register(const v1::Register& registration);

  // kFailedPrecondition LEASE_LOST when the node must register again.
  absl::Status Renew(const std::string& node_id, uint64_t incarnation, uint64_t memory_used_bytes);

  // The node says good-bye. Nothing happens when the incarnation is not the present one.
  void Leave(const std::string& node_id, uint64_t incarnation);

  struct Expired {
    std::vector<std::string> lost;       // Became LOST now.
    std::vector<std::string> forgotten;  // Removed now.
  };
  Expired Expire();

  // Moves all leases by `amount` (of either sign): the coordinator itself stood still, or its clock jumped.
  void ShiftLeases(absl::Duration amount);

  NodeLiveness Liveness(const std::string& node_id, uint64_t incarnation) const;
  // Null when unknown.
  const NodeRecord* Find(const std::string& node_id) const;
  const std::map<std::string, NodeRecord>& nodes() const { return nodes_; }
  absl::Duration lease() const { return options_.lease; }

 private:
  void End(NodeRecord& node, v1::NodeState state);

  const Clock& clock_;
  const MembershipOptions options_;
  std::map<std::string, NodeRecord> nodes_;  // By node_id.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_MEMBERSHIP_H_
