#include "server/coordinator/etcd/etcd_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace paramd {
namespace {

// Room for a page of the largest values that etcd takes.
constexpr int kMaxReceiveBytes = 32 << 20;

std::shared_ptr<grpc::Channel> EtcdChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // etcd takes pings without a call in progress for an attack.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10 * 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5 * 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

}  // namespace

EtcdClient::Endpoint::Endpoint(const std::string& endpoint_address) : address(endpoint_address) {
  const std::shared_ptr<grpc::Channel> channel = EtcdChannel(address);
  kv = etcdserverpb::KV::NewStub(channel);
  lease = etcdserverpb::Lease::NewStub(channel);
}

EtcdClient::EtcdClient(EtcdOptions options) : addresses_(std::move(options.endpoints)), timeout_(options.timeout) {
  for (const std::string& address : addresses_) endpoints_.push_back(std::make_shared<Endpoint>(address));
}

std::string EtcdClient::description() const { return absl::StrCat("etcd at ", absl::StrJoin(addresses_, ", ")); }

std::shared_ptr<EtcdClient::Endpoint> EtcdClient::Current() const {
  absl::MutexLock lock(&mutex_);
  return endpoints_[current_];
}

// A new channel, since nobody drives the old one's attempts to connect again between blocking calls.
void EtcdClient::Leave(const Endpoint& endpoint) {
  absl::MutexLock lock(&mutex_);
  if (endpoints_[current_].get() != &endpoint) return;
  endpoints_[current_] = std::make_shared<Endpoint>(endpoint.address);
  current_ = (current_ + 1) % endpoints_.size();
}

absl::Status EtcdClient::Result(const Endpoint& endpoint, absl::string_view operation, const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat("etcd at ", endpoint.address, ": ", operation, ": ", status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return MakeError(absl::StatusCode::kResourceExhausted, "STORE_FULL", message);
    case grpc::StatusCode::NOT_FOUND:
      return absl::NotFoundError(message);
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return MakeError(absl::StatusCode::kPermissionDenied, "STORE_REFUSED", message);
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNIMPLEMENTED:
      return MakeError(absl::StatusCode::kInvalidArgument, "STORE_REFUSED", message);
    default:  // UNAVAILABLE, DEADLINE_EXCEEDED, and whatever else leaves open what happened.
      break;
  }
  Leave(endpoint);
  return MakeError(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE", message);
}

absl::StatusOr<etcdserverpb::RangeResponse> EtcdClient::Range(const etcdserverpb::RangeRequest& request) {
  const std::shared_ptr<Endpoint> endpoint = Current();
  grpc::ClientContext context;
  SetDeadline(context, timeout_);
  etcdserverpb::RangeResponse response;
  RETURN_IF_ERROR(Result(*endpoint, "range", endpoint->kv->Range(&context, request, &response)));
  return response;
}

absl::StatusOr<etcdserverpb::TxnResponse> EtcdClient::Txn(const etcdserverpb::TxnRequest& request) {
  const std::shared_ptr<Endpoint> endpoint = Current();
  grpc::ClientContext context;
  SetDeadline(context, timeout_);
  etcdserverpb::TxnResponse response;
  RETURN_IF_ERROR(Result(*endpoint, "transaction", endpoint->kv->Txn(&context, request, &response)));
  return response;
}

absl::StatusOr<etcdserverpb::LeaseGrantResponse> EtcdClient::LeaseGrant(int64_t ttl_seconds) {
  const std::shared_ptr<Endpoint> endpoint = Current();
  grpc::ClientContext context;
  SetDeadline(context, timeout_);
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl_seconds);
  etcdserverpb::LeaseGrantResponse response;
  RETURN_IF_ERROR(Result(*endpoint, "lease grant", endpoint->lease->LeaseGrant(&context, request, &response)));
  return response;
}

// A stream of its own for each renewal: nothing then outlives a connection that turns out to be dead.
absl::StatusOr<int64_t> EtcdClient::LeaseKeepAlive(int64_t lease) {
  const std::shared_ptr<Endpoint> endpoint = Current();
  grpc::ClientContext context;
  SetDeadline(context, timeout_);
  const auto stream = endpoint->lease->LeaseKeepAlive(&context);
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseKeepAliveResponse response;
  const bool answered = stream->Write(request) && stream->Read(&response);
  stream->WritesDone();
  if (answered) context.TryCancel();  // etcd would wait for more.
  const grpc::Status status = stream->Finish();
  if (!answered) {
    const grpc::Status ended(grpc::StatusCode::UNAVAILABLE, "the stream ended without an answer");
    return Result(*endpoint, "lease renewal", status.ok() ? ended : status);
  }
  if (response.ttl() <= 0) return absl::NotFoundError(absl::StrCat("etcd at ", endpoint->address, ": lease expired"));
  return response.ttl();
}

absl::Status EtcdClient::LeaseRevoke(int64_t lease) {
  const std::shared_ptr<Endpoint> endpoint = Current();
  grpc::ClientContext context;
  SetDeadline(context, timeout_);
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseRevokeResponse response;
  return Result(*endpoint, "lease revocation", endpoint->lease->LeaseRevoke(&context, request, &response));
}

std::string EtcdPrefixEnd(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix.empty() ? std::string(1, '\0') : prefix;
}

}  // namespace paramd
