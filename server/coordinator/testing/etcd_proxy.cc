#include "server/coordinator/testing/etcd_proxy.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace paramd {

EtcdProxy::EtcdProxy(const std::string& etcd)
    : etcd_(etcdserverpb::KV::NewStub(grpc::CreateChannel(etcd, grpc::InsecureChannelCredentials()))) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  endpoint_ = absl::StrCat("127.0.0.1:", port);
}

EtcdProxy::~EtcdProxy() { server_->Shutdown(std::chrono::system_clock::now()); }

void EtcdProxy::SpoilTransactions(Fault fault, int count) {
  absl::MutexLock lock(&mutex_);
  fault_ = fault;
  spoiled_ = count;
}

void EtcdProxy::BeforeTransaction(std::function<void()> action) {
  absl::MutexLock lock(&mutex_);
  action_ = std::move(action);
}

int EtcdProxy::transactions() const {
  absl::MutexLock lock(&mutex_);
  return transactions_;
}

grpc::Status EtcdProxy::Range(grpc::ServerContext*, const etcdserverpb::RangeRequest* request,
                              etcdserverpb::RangeResponse* response) {
  grpc::ClientContext context;
  return etcd_->Range(&context, *request, response);
}

grpc::Status EtcdProxy::Txn(grpc::ServerContext*, const etcdserverpb::TxnRequest* request,
                            etcdserverpb::TxnResponse* response) {
  std::optional<Fault> fault;
  std::function<void()> action;
  {
    absl::MutexLock lock(&mutex_);
    ++transactions_;
    if (spoiled_ > 0) fault = fault_;
    if (spoiled_ > 0) --spoiled_;
    action = std::exchange(action_, nullptr);
  }
  if (action) action();
  if (fault == Fault::kLoseRequest) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "request lost by the test");
  if (fault == Fault::kFull) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
  }
  grpc::ClientContext context;
  const grpc::Status status = etcd_->Txn(&context, *request, response);
  if (fault == Fault::kLoseAnswer) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "answer lost by the test");
  return status;
}

}  // namespace paramd
