#include "common/rpc/server_metrics_interceptor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/support/status.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/histogram.h"

namespace paramd {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

constexpr std::array<const char*, 17> kCodeNames = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

constexpr int kCancelled = static_cast<int>(grpc::StatusCode::CANCELLED);
constexpr int kUnknown = static_cast<int>(grpc::StatusCode::UNKNOWN);

const char* TypeName(ServerRpcInfo::Type type) {
  switch (type) {
    case ServerRpcInfo::Type::UNARY:
      return "unary";
    case ServerRpcInfo::Type::CLIENT_STREAMING:
      return "client_stream";
    case ServerRpcInfo::Type::SERVER_STREAMING:
      return "server_stream";
    case ServerRpcInfo::Type::BIDI_STREAMING:
      return "bidi_stream";
  }
  return "unknown";
}

// "/package.Service/Method" if the program has such a method, else "". gRPC passes on whatever the peer asked for.
std::string KnownMethod(absl::string_view full_name) {
  if (full_name == "/grpc.health.v1.Health/Check" || full_name == "/grpc.health.v1.Health/Watch") {
    return std::string(full_name);  // Built into gRPC without a descriptor.
  }
  if (full_name.empty() || full_name[0] != '/') return "";
  std::string symbol(full_name.substr(1));
  std::replace(symbol.begin(), symbol.end(), '/', '.');
  const bool known = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(symbol) != nullptr;
  return known ? std::string(full_name) : "";
}

// `known_method` is KnownMethod's result.
prometheus::Labels MethodLabels(absl::string_view known_method, ServerRpcInfo::Type type) {
  const size_t slash = known_method.rfind('/');
  if (slash == absl::string_view::npos) {
    return {{"grpc_type", TypeName(type)}, {"grpc_service", "unknown"}, {"grpc_method", "unknown"}};
  }
  return {{"grpc_type", TypeName(type)},
          {"grpc_service", std::string(known_method.substr(1, slash - 1))},
          {"grpc_method", std::string(known_method.substr(slash + 1))}};
}

// The children of one method, each looked up once.
struct MethodMetrics {
  prometheus::Labels labels;
  prometheus::Counter* started = nullptr;
  prometheus::Histogram* seconds = nullptr;
  std::array<prometheus::Counter*, kCodeNames.size()> handled = {};  // Guarded by Metrics::mutex_.
};

}  // namespace

class ServerMetricsInterceptorFactory::Metrics {
 public:
  explicit Metrics(std::shared_ptr<prometheus::Registry> registry)
      : registry_(std::move(registry)),
        started_(prometheus::BuildCounter()
                     .Name("grpc_server_started_total")
                     .Help("RPCs started on the server.")
                     .Register(*registry_)),
        handled_(prometheus::BuildCounter()
                     .Name("grpc_server_handled_total")
                     .Help("RPCs completed on the server, whatever their outcome.")
                     .Register(*registry_)),
        seconds_(prometheus::BuildHistogram()
                     .Name("grpc_server_handling_seconds")
                     .Help("Time from an RPC's start to its status, in seconds.")
                     .Register(*registry_)) {}

  MethodMetrics* Start(absl::string_view full_name, ServerRpcInfo::Type type) {
    MethodMetrics* method;
    {
      absl::MutexLock lock(&mutex_);
      method = Find(full_name, type);
    }
    method->started->Increment();
    return method;
  }

  void Finish(MethodMetrics* method, int code, double seconds) {
    if (code < 0 || code >= static_cast<int>(kCodeNames.size())) code = kUnknown;
    prometheus::Counter* counter;
    {
      absl::MutexLock lock(&mutex_);
      prometheus::Counter*& cached = method->handled[code];
      if (cached == nullptr) {
        prometheus::Labels labels = method->labels;
        labels["grpc_code"] = kCodeNames[code];
        cached = &handled_.Add(labels);
      }
      counter = cached;
    }
    counter->Increment();
    method->seconds->Observe(seconds);
  }

 private:
  MethodMetrics* Find(absl::string_view full_name, ServerRpcInfo::Type type) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const std::string name = KnownMethod(full_name);
    auto [position, is_new] = methods_.try_emplace(name);
    MethodMetrics& method = position->second;
    if (is_new) {
      method.labels = MethodLabels(name, type);
      method.started = &started_.Add(method.labels);
      method.seconds = &seconds_.Add(
          method.labels, prometheus::Histogram::BucketBoundaries{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                                 0.25, 0.5, 1, 2.5, 5, 10});
    }
    return &method;
  }

  const std::shared_ptr<prometheus::Registry> registry_;  // Owns the families.
  prometheus::Family<prometheus::Counter>& started_;
  prometheus::Family<prometheus::Counter>& handled_;
  prometheus::Family<prometheus::Histogram>& seconds_;
  absl::Mutex mutex_;
  // By full name; as many entries as the server has methods, and one for unknown ones. References stay valid.
  std::map<std::string, MethodMetrics> methods_ ABSL_GUARDED_BY(mutex_);

 public:
  // One call. gRPC deletes it with the call; a call that never sent a status counts as cancelled.
  class Call final : public grpc::experimental::Interceptor {
   public:
    Call(std::shared_ptr<Metrics> metrics, MethodMetrics* method)
        : metrics_(std::move(metrics)), method_(method), start_(std::chrono::steady_clock::now()) {}
    ~Call() override { FinishOnce(kCancelled); }

    void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
      if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
        FinishOnce(static_cast<int>(methods->GetSendStatus().error_code()));
      }
      methods->Proceed();
    }

   private:
    void FinishOnce(int code) {
      if (finished_) return;
      finished_ = true;
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
      metrics_->Finish(method_, code, elapsed.count());
    }

    const std::shared_ptr<Metrics> metrics_;
    MethodMetrics* const method_;
    const std::chrono::steady_clock::time_point start_;
    bool finished_ = false;
  };
};

ServerMetricsInterceptorFactory::ServerMetricsInterceptorFactory(std::shared_ptr<prometheus::Registry> registry)
    : metrics_(std::make_shared<Metrics>(std::move(registry))) {}

ServerMetricsInterceptorFactory::~ServerMetricsInterceptorFactory() = default;

grpc::experimental::Interceptor* ServerMetricsInterceptorFactory::CreateServerInterceptor(ServerRpcInfo* info) {
  const char* name = info->method() == nullptr ? "" : info->method();
  return new Metrics::Call(metrics_, metrics_->Start(name, info->type()));
}

}  // namespace paramd
