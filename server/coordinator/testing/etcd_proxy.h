// Stands between a client and a real etcd and spoils what the test says: of KV calls only.
//
//   EtcdProxy proxy(etcd->endpoint());
//   EtcdClient client({.endpoints = {proxy.endpoint()}});
//   proxy.SpoilTransactions(EtcdProxy::Fault::kLoseAnswer, 1);
//
// Thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_TESTING_ETCD_PROXY_H_
#define PARAMD_SERVER_COORDINATOR_TESTING_ETCD_PROXY_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "etcdserverpb/rpc.grpc.pb.h"
#include "grpcpp/server.h"

namespace paramd {

class EtcdProxy final : public etcdserverpb::KV::Service {
 public:
  enum class Fault {
    kLoseRequest,  // UNAVAILABLE, and etcd never sees it.
    kLoseAnswer,   // etcd applies it; UNAVAILABLE all the same.
    kFull,         // RESOURCE_EXHAUSTED, as with etcd's space quota.
  };

  explicit EtcdProxy(const std::string& etcd);
  ~EtcdProxy() override;

  const std::string& endpoint() const { return endpoint_; }
  // The next `count` transactions.
  void SpoilTransactions(Fault fault, int count);
  // Called once, before the next transaction is passed on.
  void BeforeTransaction(std::function<void()> action);
  int transactions() const;

  grpc::Status Range(grpc::ServerContext* context, const etcdserverpb::RangeRequest* request,
                     etcdserverpb::RangeResponse* response) override;
  grpc::Status Txn(grpc::ServerContext* context, const etcdserverpb::TxnRequest* request,
                   etcdserverpb::TxnResponse* response) override;

 private:
  const std::unique_ptr<etcdserverpb::KV::Stub> etcd_;
  std::unique_ptr<grpc::Server> server_;
  std::string endpoint_;
  mutable absl::Mutex mutex_;
  Fault fault_ ABSL_GUARDED_BY(mutex_) = Fault::kLoseRequest;
  int spoiled_ ABSL_GUARDED_BY(mutex_) = 0;
  int transactions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void()> action_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TESTING_ETCD_PROXY_H_
