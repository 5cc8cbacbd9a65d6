// ParameterService on a TCP port and a unix socket of its own, with everything behind it, for tests of the service.
//
//   TestService service;
//   ASSERT_OK(service.Prepare(TestAssignment()));
//   ExchangeClient client(service.tcp_address());
//
// Tests only.
#ifndef PARAMD_SERVER_SERVICE_TESTING_TEST_SERVICE_H_
#define PARAMD_SERVER_SERVICE_TESTING_TEST_SERVICE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/rpc/channel_cache.h"
#include "grpcpp/server.h"
#include "prometheus/registry.h"
#include "proto/cluster.pb.h"
#include "server/service/jobs.h"
#include "server/service/owner_threads.h"
#include "server/service/parameter_service.h"
#include "server/service/server_metrics.h"

namespace paramd {

class TestService {
 public:
  explicit TestService(const ParameterServiceOptions& options = {}, int threads = 2);
  ~TestService();

  absl::StatusOr<int64_t> Prepare(const v1::JobAssignment& assignment);

  std::string tcp_address() const;
  std::string unix_address() const { return "unix:" + socket_path_; }
  ServerMetrics& metrics() { return metrics_; }
  prometheus::Registry& registry() { return *registry_; }
  OwnerThreads& threads() { return threads_; }
  Jobs& jobs() { return jobs_; }
  ParameterService& service() { return service_; }

 private:
  const RealClock clock_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  ServerMetrics metrics_;
  ChannelCache channels_{{.kind = ChannelKind::kControl}};
  OwnerThreads threads_;
  Jobs jobs_;
  ParameterService service_;
  const std::string socket_path_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_TESTING_TEST_SERVICE_H_
