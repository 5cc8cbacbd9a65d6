// Calls to an etcd cluster, over the part of its v3 API in third_party/etcd.
//
//   EtcdClient etcd({.endpoints = {"10.0.0.7:2379", "10.0.0.8:2379"}});
//   ASSIGN_OR_RETURN(etcdserverpb::RangeResponse found, etcd.Range(request));
//
// Each method makes one attempt of at most `timeout`, at the endpoint that worked last; when that does not answer, the
// next call goes to the next endpoint, and the one that failed gets a new connection. Whether and how often to try
// again is the caller's to know: a Txn whose answer was lost may have been applied.
//
// Errors name the endpoint. kUnavailable STORE_UNAVAILABLE: no answer, or none in time; for writes the outcome is
// unknown. kResourceExhausted STORE_FULL: etcd's space quota. kNotFound: no such lease. kPermissionDenied
// STORE_REFUSED: etcd wants a user. kInvalidArgument STORE_REFUSED: etcd does not take the request. Nothing was written
// with these.
//
// Thread safe. Blocks the calling thread. Destroy it on a thread that is not one of gRPC's.
#ifndef PARAMD_SERVER_COORDINATOR_ETCD_ETCD_CLIENT_H_
#define PARAMD_SERVER_COORDINATOR_ETCD_ETCD_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "etcdserverpb/rpc.grpc.pb.h"

namespace paramd {

struct EtcdOptions {
  std::vector<std::string> endpoints;         // host:port, at least one.
  absl::Duration timeout = absl::Seconds(1);  // Of one attempt.
};

class EtcdClient {
 public:
  explicit EtcdClient(EtcdOptions options);

  absl::StatusOr<etcdserverpb::RangeResponse> Range(const etcdserverpb::RangeRequest& request);
  absl::StatusOr<etcdserverpb::TxnResponse> Txn(const etcdserverpb::TxnRequest& request);
  absl::StatusOr<etcdserverpb::LeaseGrantResponse> LeaseGrant(int64_t ttl_seconds);
  // Returns the seconds that the lease lives on from now. kNotFound when it is no more.
  absl::StatusOr<int64_t> LeaseKeepAlive(int64_t lease);
  absl::Status LeaseRevoke(int64_t lease);

  // "etcd at a:1, b:2", for messages.
  std::string description() const;

 private:
  struct Endpoint {
    explicit Endpoint(const std::string& address);
    const std::string address;
    std::unique_ptr<etcdserverpb::KV::Stub> kv;
    std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  };

  std::shared_ptr<Endpoint> Current() const;
  // The call's status for callers; moves on to the next endpoint when this one did not answer.
  absl::Status Result(const Endpoint& endpoint, absl::string_view operation, const grpc::Status& status);
  void Leave(const Endpoint& endpoint);

  const std::vector<std::string> addresses_;
  const absl::Duration timeout_;
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<Endpoint>> endpoints_ ABSL_GUARDED_BY(mutex_);
  size_t current_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The first key after all that begin with `prefix`: RangeRequest.range_end of the prefix.
std::string EtcdPrefixEnd(std::string prefix);

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_ETCD_ETCD_CLIENT_H_
