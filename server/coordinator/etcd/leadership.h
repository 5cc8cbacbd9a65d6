// The lead among the coordinators of a cluster: a key in etcd that exists only while its lease is renewed.
//
//   ASSIGN_OR_RETURN(Leadership::Campaigned result, Leadership::Campaign(etcd, {.prefix = "/paramd/", ...}));
//   if (result.leadership == nullptr) ...   // result.leader leads; try again in a while
//   while (!result.leadership->WaitUntilLost(absl::Milliseconds(100))) Work();
//   result.leadership->Resign();            // the next one need not wait for the lease's end
//
// Who leads may act while valid(): by this machine's clock the lease cannot have ended, with a tenth of it to spare for
// clocks that run at different rates. Time is measured from before each renewal was sent, and stands still for nobody:
// a process that was stopped finds itself deposed. Between a look at valid() and the action that follows anything may
// happen, so whatever is written carries term(), too, and etcd refuses it once the key has another life (etcd_store.h).
//
// Thread safe. One thread of its own, which renews the lease every fifth of it. Borrows the client.
#ifndef PARAMD_SERVER_COORDINATOR_ETCD_LEADERSHIP_H_
#define PARAMD_SERVER_COORDINATOR_ETCD_LEADERSHIP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/boot_time.h"
#include "server/coordinator/etcd/etcd_client.h"

namespace paramd {

// kUnavailable NOT_LEADER, with the metadata `leader` unless the leader's address is unknown ("").
absl::Status NotLeaderError(const std::string& message, const std::string& leader_address);

struct LeaderInfo {
  std::string address;  // host:port that clients and daemons reach it at. Empty: nobody leads.
  std::string id;
};

struct LeadershipOptions {
  std::string prefix = "/paramd/";
  absl::Duration lease = absl::Seconds(3);  // Whole seconds; etcd's own minimum is 2.
  LeaderInfo self;
  std::function<absl::Duration()> now = BootTime;
};

class Leadership {
 public:
  struct Campaigned {
    std::unique_ptr<Leadership> leadership;  // Null: another coordinator leads.
    LeaderInfo leader;
  };
  // One attempt to take the lead. etcd_client.h's errors.
  static absl::StatusOr<Campaigned> Campaign(EtcdClient& etcd, const LeadershipOptions& options);

  ~Leadership();  // Resigns.
  Leadership(const Leadership&) = delete;
  Leadership& operator=(const Leadership&) = delete;

  // Grows with every lead: the revision at which `key` was created.
  int64_t term() const { return term_; }
  const std::string& key() const { return key_; }

  bool valid() const { return remaining() > absl::ZeroDuration(); }
  // How long it is valid without another renewal. Zero when it is lost, for ever.
  absl::Duration remaining() const;
  // Why it was lost; OK as long as it is not.
  absl::Status lost() const;
  // Somebody else has found that it must end.
  void Lose(const absl::Status& why);
  // Waits until it is lost; false when it is not after `limit`.
  bool WaitUntilLost(absl::Duration limit);
  // Ends it and deletes the key. Idempotent. Takes as long as one call to etcd.
  void Resign();

 private:
  Leadership(EtcdClient& etcd, const LeadershipOptions& options, int64_t lease, int64_t term,
             absl::Duration valid_until);

  void Renew();
  void LoseLocked(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Notices that time is over.
  bool LostLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after construction.
  EtcdClient& etcd_;
  const std::string key_;
  const absl::Duration interval_;
  const std::function<absl::Duration()> now_;
  const int64_t lease_;
  const int64_t term_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  absl::Duration valid_until_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  absl::Status renewal_ ABSL_GUARDED_BY(mutex_);  // The newest attempt's.
  std::thread thread_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_ETCD_LEADERSHIP_H_
