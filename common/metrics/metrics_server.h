// The HTTP port of a daemon: /metrics in Prometheus' text format, /healthz, /readyz (?verbose lists the checks),
// /livez.
//
//   auto registry = std::make_shared<prometheus::Registry>();
//   ASSIGN_OR_RETURN(auto server, MetricsServer::Start({.listen_address = "127.0.0.1:0"}, registry));
//   server->AddReadinessCheck("coordinator", [&] { return session.welcomed() ? absl::OkStatus() : ...; });
//
// Every registry also gets paramd_build_info, the process_* family and, in tests, counters of failpoints. Handlers run
// on civetweb's threads, so checks must be thread safe and quick.
#ifndef PARAMD_COMMON_METRICS_METRICS_SERVER_H_
#define PARAMD_COMMON_METRICS_METRICS_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "prometheus/registry.h"

namespace paramd {

struct MetricsServerOptions {
  std::string listen_address;  // host:port; port 0 takes a free one.
};

class MetricsServer {
 public:
  using Check = std::function<absl::Status()>;

  // kUnavailable with the address when it cannot listen.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const MetricsServerOptions& options,
                                                              std::shared_ptr<prometheus::Registry> registry);
  virtual ~MetricsServer() = default;
  virtual int port() const = 0;
  // /readyz is 200 when all checks are OK, else 503 with the failing ones. Thread safe.
  virtual void AddReadinessCheck(std::string name, Check check) = 0;
  // Called before every scrape of /metrics, from civetweb's threads; one function at most. Thread safe.
  virtual void BeforeScrape(std::function<void()> prepare) = 0;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_METRICS_METRICS_SERVER_H_
