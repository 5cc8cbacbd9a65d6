#include "common/rpc/server_runner.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/address.h"
#include "common/rpc/server_metrics_interceptor.h"
#include "common/rpc/socket_options.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/security/server_credentials.h"
#include "spdlog/spdlog.h"

namespace paramd {
namespace {

// Reflection for one server. The library adds its plugin to all servers of a process by itself as soon as it is linked,
// so "off" means taking it out again.
class ReflectionOption final : public grpc::ServerBuilderOption {
 public:
  explicit ReflectionOption(bool enabled) : enabled_(enabled) {}

  void UpdateArguments(grpc::ChannelArguments* arguments) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    auto wanted = std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>();
    const std::string name = wanted->name();
    plugins->erase(
        std::remove_if(plugins->begin(), plugins->end(), [&](auto& plugin) { return plugin->name() == name; }),
        plugins->end());
    if (enabled_) plugins->push_back(std::move(wanted));
  }

 private:
  const bool enabled_;
};

class SocketOption final : public grpc::ServerBuilderOption {
 public:
  explicit SocketOption(const BulkTransportOptions& bulk) : bulk_(bulk) {}

  void UpdateArguments(grpc::ChannelArguments* arguments) override {
    SetSocketOptions(SocketOptionsOf(bulk_), /*loopback=*/false, *arguments);
  }
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*) override {}

 private:
  const BulkTransportOptions bulk_;
};

// gRPC does not say why it could not listen; trying the same once more does. Returns errno, 0 when it works now.
int BindError(const HostPort& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* list = nullptr;
  const char* host = IsWildcardHost(address.host) ? nullptr : address.host.c_str();
  if (getaddrinfo(host, absl::StrCat(address.port).c_str(), &hints, &list) != 0) return EADDRNOTAVAIL;
  int error = EADDRNOTAVAIL;
  for (const addrinfo* item = list; item != nullptr; item = item->ai_next) {
    const int descriptor = socket(item->ai_family, item->ai_socktype | SOCK_CLOEXEC, item->ai_protocol);
    if (descriptor < 0) continue;
    const int on = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const bool bound = bind(descriptor, item->ai_addr, item->ai_addrlen) == 0 && listen(descriptor, 1) == 0;
    error = bound ? 0 : errno;
    close(descriptor);
    if (error != 0) break;
  }
  freeaddrinfo(list);
  return error;
}

absl::Status ListenError(const HostPort& address) {
  const std::string text = FormatHostPort(address.host, address.port);
  const int error = BindError(address);
  if (error == EADDRINUSE) {
    return MakeError(absl::StatusCode::kUnavailable, "ADDRESS_IN_USE",
                     absl::StrCat("cannot listen on ", text, ": another process uses the port"), {{"address", text}});
  }
  return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED",
                   absl::StrCat("cannot listen on ", text, error == 0 ? "" : absl::StrCat(": ", strerror(error))),
                   {{"address", text}});
}

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

}  // namespace

ServerRunner::ServerRunner(ServerRunnerOptions options) : options_(std::move(options)) {}

ServerRunner::~ServerRunner() { Drain(absl::ZeroDuration()); }

void ServerRunner::AddService(grpc::Service* service, const std::string& name) {
  services_.emplace_back(service, name);
}

absl::Status ServerRunner::PrepareLocalSocket() {
  if (options_.local_socket.place == "off") return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<LocalSocket>> socket = LocalSocket::Prepare(options_.local_socket);
  if (socket.ok()) {
    local_socket_ = *std::move(socket);
  } else if (options_.local_socket.place == "auto") {
    spdlog::warn("no unix socket for clients on this host: {}", std::string(socket.status().message()));
  } else {
    return socket.status();
  }
  return absl::OkStatus();
}

absl::Status ServerRunner::Listen(grpc::ServerBuilder& builder) {
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(options_.listen_address));
  RETURN_IF_ERROR(PrepareLocalSocket());
  builder.AddListeningPort(
      options_.listen_address,
      options_.credentials == nullptr ? grpc::InsecureServerCredentials() : options_.credentials->server(), &port_);
  int local = 0;
  if (local_socket_ != nullptr) {
    builder.AddListeningPort(local_socket_->binding_address(), grpc::InsecureServerCredentials(), &local);
  }
  server_ = builder.BuildAndStart();
  if (server_ != nullptr && port_ != 0) {
    return local_socket_ == nullptr ? absl::OkStatus() : local_socket_->Publish(port_);
  }
  const bool tcp_failed = port_ == 0 || local_socket_ == nullptr || local != 0;
  server_ = nullptr;
  if (tcp_failed) return ListenError(address);
  return MakeError(absl::StatusCode::kUnavailable, "LOCAL_SOCKET_FAILED",
                   absl::StrCat("cannot listen on a unix socket, --local-socket ", options_.local_socket.place));
}

absl::Status ServerRunner::Start() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  for (const auto& [service, name] : services_) builder.RegisterService(service);
  const int limit = static_cast<int>(std::min<int64_t>(options_.max_message_bytes, std::numeric_limits<int>::max()));
  builder.SetMaxReceiveMessageSize(limit);
  builder.SetMaxSendMessageSize(limit);
  for (const IntArgument& a : ServerArguments(options_.kind, options_.bulk))
    builder.AddChannelArgument(a.name, a.value);
  builder.SetOption(std::make_unique<ReflectionOption>(options_.reflection));
  if (options_.kind == ChannelKind::kBulk) builder.SetOption(std::make_unique<SocketOption>(options_.bulk));
  if (options_.registry != nullptr) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(std::make_unique<ServerMetricsInterceptorFactory>(options_.registry));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
  }
  RETURN_IF_ERROR(Listen(builder));
  SetServing(false);
  return absl::OkStatus();
}

void ServerRunner::SetServing(bool serving) {
  if (server_ == nullptr) return;
  for (const auto& [service, name] : services_) server_->GetHealthCheckService()->SetServingStatus(name, serving);
}

void ServerRunner::Drain(absl::Duration grace) {
  if (server_ == nullptr || drained_) return;
  drained_ = true;
  local_socket_.reset();
  server_->GetHealthCheckService()->Shutdown();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

std::string AdvertisedAddress(const std::string& advertise, const std::string& listen_address, int port) {
  if (!advertise.empty()) return advertise;
  const absl::StatusOr<HostPort> listen = ParseHostPort(listen_address);
  if (!listen.ok()) return FormatHostPort(HostName(), port);
  return FormatHostPort(IsWildcardHost(listen->host) ? HostName() : listen->host,
                        listen->port == 0 ? port : listen->port);
}

}  // namespace paramd
