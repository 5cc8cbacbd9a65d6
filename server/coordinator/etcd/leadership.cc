#include "server/coordinator/etcd/leadership.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

// Of the lease; the rest is for clocks that run at different rates.
constexpr double kUsablePart = 0.9;

// The value of the key, for people with etcdctl as much as for standbys: "ADDRESS ID".
std::string FormatLeader(const LeaderInfo& leader) { return absl::StrCat(leader.address, " ", leader.id); }

LeaderInfo ParseLeader(const std::string& value) {
  const std::vector<std::string> parts = absl::StrSplit(value, absl::MaxSplits(' ', 1));
  return {parts[0], parts.size() > 1 ? parts[1] : ""};
}

etcdserverpb::TxnRequest TakeKey(const std::string& key, const std::string& value, int64_t lease) {
  etcdserverpb::TxnRequest txn;
  etcdserverpb::Compare& absent = *txn.add_compare();
  absent.set_target(etcdserverpb::Compare::CREATE);
  absent.set_key(key);
  absent.set_create_revision(0);
  etcdserverpb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key(key);
  put.set_value(value);
  put.set_lease(lease);
  txn.add_failure()->mutable_request_range()->set_key(key);
  return txn;
}

}  // namespace

absl::Status NotLeaderError(const std::string& message, const std::string& leader_address) {
  ErrorMetadata metadata;
  if (!leader_address.empty()) metadata["leader"] = leader_address;
  return MakeError(absl::StatusCode::kUnavailable, "NOT_LEADER", message, metadata);
}

absl::StatusOr<Leadership::Campaigned> Leadership::Campaign(EtcdClient& etcd, const LeadershipOptions& options) {
  const std::string key = absl::StrCat(options.prefix, "leader");
  etcdserverpb::RangeRequest look;
  look.set_key(key);
  ASSIGN_OR_RETURN(const etcdserverpb::RangeResponse holder, etcd.Range(look));
  if (holder.kvs_size() > 0) return Campaigned{nullptr, ParseLeader(holder.kvs(0).value())};

  const absl::Duration asked = options.now();
  ASSIGN_OR_RETURN(const etcdserverpb::LeaseGrantResponse lease, etcd.LeaseGrant(absl::ToInt64Seconds(options.lease)));
  const absl::StatusOr<etcdserverpb::TxnResponse> answer =
      etcd.Txn(TakeKey(key, FormatLeader(options.self), lease.id()));
  if (answer.ok() && answer->succeeded()) {
    std::unique_ptr<Leadership> leadership(new Leadership(etcd, options, lease.id(), answer->header().revision(),
                                                          asked + absl::Seconds(lease.ttl()) * kUsablePart));
    return Campaigned{std::move(leadership), options.self};
  }
  etcd.LeaseRevoke(lease.id()).IgnoreError();  // Takes the key along, should it have been put; else it expires.
  RETURN_IF_ERROR(answer.status());
  const etcdserverpb::RangeResponse& winner = answer->responses(0).response_range();
  return Campaigned{nullptr, winner.kvs_size() > 0 ? ParseLeader(winner.kvs(0).value()) : LeaderInfo()};
}

Leadership::Leadership(EtcdClient& etcd, const LeadershipOptions& options, int64_t lease, int64_t term,
                       absl::Duration valid_until)
    : etcd_(etcd),
      key_(absl::StrCat(options.prefix, "leader")),
      interval_(options.lease / 5),
      now_(options.now),
      lease_(lease),
      term_(term),
      valid_until_(valid_until) {
  thread_ = std::thread([this] { Renew(); });
}

Leadership::~Leadership() { Resign(); }

absl::Duration Leadership::remaining() const {
  absl::MutexLock lock(&mutex_);
  if (!lost_.ok() || stopping_) return absl::ZeroDuration();
  return std::max(absl::ZeroDuration(), valid_until_ - now_());
}

absl::Status Leadership::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

void Leadership::Lose(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  LoseLocked(why);
}

void Leadership::LoseLocked(const absl::Status& why) {
  if (lost_.ok()) lost_ = why;
  changed_.SignalAll();
}

bool Leadership::LostLocked() {
  if (lost_.ok() && now_() >= valid_until_) {
    LoseLocked(
        NotLeaderError(absl::StrCat("this coordinator lost the lead: its lease in etcd was not renewed in time",
                                    renewal_.ok() ? "" : absl::StrCat(" (", std::string(renewal_.message()), ")")),
                       ""));
  }
  return !lost_.ok();
}

bool Leadership::WaitUntilLost(absl::Duration limit) {
  const absl::Duration end = now_() + limit;
  absl::MutexLock lock(&mutex_);
  while (!LostLocked()) {
    const absl::Duration pause = std::min(end, valid_until_) - now_();
    if (pause <= absl::ZeroDuration()) break;
    changed_.WaitWithTimeout(&mutex_, pause);
  }
  return LostLocked();
}

void Leadership::Renew() {
  absl::Duration pause = interval_;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (!stopping_ && !LostLocked()) changed_.WaitWithTimeout(&mutex_, pause);
      if (stopping_ || LostLocked()) return;
    }
    const absl::Duration sent = now_();
    const absl::StatusOr<int64_t> ttl = etcd_.LeaseKeepAlive(lease_);
    absl::MutexLock lock(&mutex_);
    renewal_ = ttl.status();
    if (LostLocked()) return;  // An answer that comes too late revives nothing.
    pause = ttl.ok() ? interval_ : interval_ / 4;
    if (ttl.ok()) {
      valid_until_ = std::max(valid_until_, sent + absl::Seconds(*ttl) * kUsablePart);
    } else if (absl::IsNotFound(ttl.status())) {
      return LoseLocked(NotLeaderError("this coordinator lost the lead: its lease in etcd has ended", ""));
    }
  }
}

void Leadership::Resign() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  if (!thread_.joinable()) return;
  thread_.join();
  etcd_.LeaseRevoke(lease_).IgnoreError();  // Else it expires.
}

}  // namespace paramd
