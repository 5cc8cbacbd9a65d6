#include "server/coordinator/membership.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr size_t kMaxTextBytes = 1024;
constexpr uint32_t kMaxJobCapacity = 1024;

bool ValidNodeId(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

absl::Status Invalid(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REGISTRATION", message);
}

absl::Status CheckProtocol(const v1::Register& r) {
  if (r.protocol() == kClusterProtocol) return absl::OkStatus();
  const bool old = r.protocol() < kClusterProtocol;
  return MakeError(absl::StatusCode::kFailedPrecondition, old ? "CLIENT_TOO_OLD" : "CLIENT_TOO_NEW",
                   absl::StrCat("node ", r.node_id(), " (version ", r.version(), ") speaks cluster protocol ",
                                r.protocol(), "; this coordinator speaks ", kClusterProtocol),
                   {{"protocol", absl::StrCat(kClusterProtocol)}});
}

// Workers connect to it, so it must at least be what it is said to be.
absl::Status CheckLocalAddress(const v1::Register& r) {
  const std::string& address = r.local_address();
  if (address.empty()) return absl::OkStatus();
  if (r.role() != v1::NODE_ROLE_SERVER) return Invalid("local_address: only servers have one");
  if (absl::StartsWith(address, "unix:/") && address.find('\0') == std::string::npos) return absl::OkStatus();
  return Invalid(absl::StrCat("local_address: must be unix:PATH with an absolute path, got \"",
                              absl::CEscape(address.substr(0, 140)), "\""));
}

absl::Status CheckRole(const v1::Register& r) {
  if (r.role() == v1::NODE_ROLE_SERVER) {
    return r.memory_limit_bytes() > 0 ? absl::OkStatus()
                                      : Invalid("memory_limit_bytes: a server must state one, got 0");
  }
  if (r.role() != v1::NODE_ROLE_WORKER) return Invalid(absl::StrCat("role: must be SERVER or WORKER, got ", r.role()));
  if (r.job_capacity() >= 1 && r.job_capacity() <= kMaxJobCapacity) return absl::OkStatus();
  return Invalid(absl::StrCat("job_capacity: must be 1..", kMaxJobCapacity, " for a worker, got ", r.job_capacity()));
}

absl::Status CheckRegistration(const v1::Register& r) {
  if (!ValidNodeId(r.node_id())) {
    return Invalid(
        absl::StrFormat("node_id: must match [A-Za-z0-9._-]{1,128}, got \"%s\"", r.node_id().substr(0, 140)));
  }
  RETURN_IF_ERROR(CheckProtocol(r));
  if (r.incarnation() == 0) return Invalid("incarnation: must be > 0");
  if (r.address().empty()) return Invalid("address: must be host:port, got nothing");
  for (const std::string* text :
       {&r.address(), &r.metrics_address(), &r.version(), &r.device(), &r.host_id(), &r.local_address()}) {
    if (text->size() > kMaxTextBytes)
      return Invalid(absl::StrCat("a text field is longer than ", kMaxTextBytes, " bytes"));
  }
  RETURN_IF_ERROR(CheckLocalAddress(r));
  return CheckRole(r);
}

bool Live(const NodeRecord& node) { return node.state == v1::NODE_STATE_READY; }

}  // namespace

Membership::Membership(const Clock& clock, MembershipOptions options) : clock_(clock), options_(options) {}

absl::Status Membership::Register(const v1::Register& registration) {
  RETURN_IF_ERROR(CheckRegistration(registration));
  const auto found = nodes_.find(registration.node_id());
  if (found == nodes_.end() && nodes_.size() >= options_.max_nodes) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_NODES",
                     absl::StrCat("the cluster has ", nodes_.size(), " nodes, its limit"));
  }
  if (found != nodes_.end()) {
    const v1::Register& known = found->second.registration;
    if (registration.incarnation() < known.incarnation()) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED",
                       absl::StrCat("node ", registration.node_id(), " is registered with the newer incarnation ",
                                    known.incarnation(), ", got ", registration.incarnation()),
                       {{"incarnation", absl::StrCat(known.incarnation())}});
    }
    if (registration.incarnation() == known.incarnation() && registration.role() != known.role()) {
      return MakeError(absl::StatusCode::kAlreadyExists, "NODE_ID_IN_USE",
                       absl::StrCat("node_id ", registration.node_id(), " is taken by a daemon of another role"));
    }
  }
  const absl::Time now = clock_.Now();
  NodeRecord& node = nodes_[registration.node_id()];
  const bool known = node.registration.incarnation() == registration.incarnation();
  node.registration = registration;
  node.registration.clear_held_jobs();
  node.state = v1::NODE_STATE_READY;
  if (!known) node.register_time = now;
  node.last_heartbeat = now;
  return absl::OkStatus();
}

absl::Status Membership::Renew(const std::string& node_id, uint64_t incarnation, uint64_t memory_used_bytes) {
  const auto found = nodes_.find(node_id);
  if (found == nodes_.end() || !Live(found->second) || found->second.registration.incarnation() != incarnation) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LEASE_LOST",
                     absl::StrCat("node ", node_id, " incarnation ", incarnation, " holds no lease; register again"));
  }
  found->second.last_heartbeat = clock_.Now();
  found->second.memory_used_bytes = memory_used_bytes;
  return absl::OkStatus();
}

void Membership::Leave(const std::string& node_id, uint64_t incarnation) {
  const auto found = nodes_.find(node_id);
  if (found == nodes_.end() || found->second.registration.incarnation() != incarnation) return;
  if (Live(found->second)) End(found->second, v1::NODE_STATE_LEFT);
}

void Membership::End(NodeRecord& node, v1::NodeState state) {
  node.state = state;
  node.end_time = clock_.Now();
}

Membership::Expired Membership::Expire() {
  Expired expired;
  const absl::Time now = clock_.Now();
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    NodeRecord& node = it->second;
    if (Live(node) && now - node.last_heartbeat > options_.lease) {
      End(node, v1::NODE_STATE_LOST);
      expired.lost.push_back(it->first);
    }
    if (!Live(node) && now - node.end_time > options_.forget_after) {
      expired.forgotten.push_back(it->first);
      it = nodes_.erase(it);
    } else {
      ++it;
    }
  }
  return expired;
}

void Membership::ShiftLeases(absl::Duration amount) {
  for (auto& [id, node] : nodes_) {
    node.last_heartbeat += amount;
    node.end_time += amount;
  }
}

NodeLiveness Membership::Liveness(const std::string& node_id, uint64_t incarnation) const {
  const NodeRecord* node = Find(node_id);
  if (node == nullptr || node->registration.incarnation() < incarnation) return NodeLiveness::kUnknown;
  if (node->registration.incarnation() > incarnation || !Live(*node)) return NodeLiveness::kGone;
  return NodeLiveness::kAlive;
}

const NodeRecord* Membership::Find(const std::string& node_id) const {
  const auto found = nodes_.find(node_id);
  return found == nodes_.end() ? nullptr : &found->second;
}

}  // namespace paramd
