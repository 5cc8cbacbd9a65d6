// Counts and times every call of a gRPC server under the names that public dashboards expect:
//
//   grpc_server_started_total{grpc_type,grpc_service,grpc_method}
//   grpc_server_handled_total{grpc_type,grpc_service,grpc_method,grpc_code}
//   grpc_server_handling_seconds{grpc_type,grpc_service,grpc_method}      (histogram)
//
// Type, method and code are written as go-grpc-prometheus does: unary, client_stream, ...; OK, NotFound, ...
// Only registered methods become labels; a call of any other counts as method "unknown".
//
// Threading: gRPC calls the factory from its own threads; it is thread safe. ServerRunner installs it.
#ifndef PARAMD_COMMON_RPC_SERVER_METRICS_INTERCEPTOR_H_
#define PARAMD_COMMON_RPC_SERVER_METRICS_INTERCEPTOR_H_

#include <memory>

#include "grpcpp/support/server_interceptor.h"
#include "prometheus/registry.h"

namespace paramd {

class ServerMetricsInterceptorFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit ServerMetricsInterceptorFactory(std::shared_ptr<prometheus::Registry> registry);
  ~ServerMetricsInterceptorFactory() override;

  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override;

 private:
  class Metrics;
  // Shared with the interceptors of calls that may outlive the factory.
  std::shared_ptr<Metrics> metrics_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_SERVER_METRICS_INTERCEPTOR_H_
