#include "common/metrics/metrics_server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iterator>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "civetweb.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/metrics/build_info.h"
#include "common/metrics/failpoint_collector.h"
#include "common/metrics/process_collector.h"
#include "common/rpc/address.h"
#include "prometheus/text_serializer.h"

namespace paramd {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr size_t kMaxLogBytes = 1024;
constexpr char kPlainType[] = "text/plain; charset=utf-8";

struct Response {
  int code = 200;
  std::string body;
  const char* content_type = kPlainType;
};

const char* ReasonPhrase(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

bool HasParameter(const char* query, absl::string_view name) {
  if (query == nullptr) return false;
  for (absl::string_view part : absl::StrSplit(query, '&')) {
    if (part == name || absl::StartsWith(part, absl::StrCat(name, "="))) return true;
  }
  return false;
}

// civetweb listens on numeric addresses only.
absl::StatusOr<std::string> NumericAddress(const HostPort& address) {
  if (IsWildcardHost(address.host)) return FormatHostPort(address.host == "*" ? "0.0.0.0" : address.host, address.port);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  char host[NI_MAXHOST] = {};
  int error = getaddrinfo(address.host.c_str(), nullptr, &hints, &list);
  if (error == 0) {
    error = getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
  }
  if (error != 0) {
    return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED",
                     absl::StrCat("cannot resolve \"", address.host, "\": ", gai_strerror(error)));
  }
  return FormatHostPort(host, address.port);
}

// Connects to `address` (numeric) and hangs up.
void Touch(const HostPort& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &list) != 0) return;
  const int descriptor = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor >= 0) {
    [[maybe_unused]] const int ignored = connect(descriptor, list->ai_addr, list->ai_addrlen);
    close(descriptor);
  }
  freeaddrinfo(list);
}

class CivetMetricsServer final : public MetricsServer {
 public:
  explicit CivetMetricsServer(std::shared_ptr<prometheus::Registry> registry) : registry_(std::move(registry)) {
    RegisterBuildInfo(*registry_);
  }
  ~CivetMetricsServer() override;

  absl::Status Listen(const std::string& listen_address);

  int port() const override { return port_; }
  void AddReadinessCheck(std::string name, Check check) override {
    absl::MutexLock lock(&mutex_);
    checks_[std::move(name)] = std::move(check);
  }
  void BeforeScrape(std::function<void()> prepare) override {
    absl::MutexLock lock(&mutex_);
    prepare_ = std::move(prepare);
  }

 private:
  // civetweb's callbacks; it calls them from its own threads.
  static int OnRequest(mg_connection* connection);
  static int OnLogMessage(const mg_connection* connection, const char* message);

  Response Answer(const mg_request_info& request) const;
  Response Metrics() const;
  Response Readiness(bool verbose) const;

  // Constant after Listen.
  const std::shared_ptr<prometheus::Registry> registry_;
  const ProcessCollector process_;
  HostPort wake_address_;  // Numeric; reaches the listener from this process.
  mg_context* context_ = nullptr;
  int port_ = 0;

  mutable absl::Mutex mutex_;
  std::map<std::string, Check> checks_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> prepare_ ABSL_GUARDED_BY(mutex_);
  std::string log_ ABSL_GUARDED_BY(mutex_);  // civetweb's first complaints: why Listen failed.
};

absl::Status CivetMetricsServer::Listen(const std::string& listen_address) {
  ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(listen_address));
  ASSIGN_OR_RETURN(const std::string numeric, NumericAddress(address));
  mg_callbacks callbacks = {};
  callbacks.begin_request = &OnRequest;
  callbacks.log_message = &OnLogMessage;
  // A scraper, a kubelet and a person at a time; slow clients are cut off.
  const char* options[] = {"listening_ports",
                           numeric.c_str(),
                           "num_threads",
                           "4",
                           "request_timeout_ms",
                           "5000",
                           "enable_keep_alive",
                           "no",
                           nullptr};
  mg_init_library(MG_FEATURES_DEFAULT);
  context_ = mg_start(&callbacks, this, options);
  mg_server_port bound[1] = {};
  if (context_ != nullptr && mg_get_server_ports(context_, 1, bound) == 1) {
    port_ = bound[0].port;
    wake_address_ = *ParseHostPort(numeric);
    wake_address_.port = port_;
    return absl::OkStatus();
  }
  absl::MutexLock lock(&mutex_);
  return MakeError(absl::StatusCode::kUnavailable,
                   absl::StrContains(log_, "Address already in use") ? "ADDRESS_IN_USE" : "LISTEN_FAILED",
                   absl::StrCat("cannot serve metrics on ", listen_address, ": ", log_), {{"address", listen_address}});
}

// Waits for the requests in progress. civetweb looks at its stop flag only after a connection or two seconds, so a
// connection is made as often as it takes.
CivetMetricsServer::~CivetMetricsServer() {
  if (context_ == nullptr) return;
  absl::Notification stopped;
  std::thread stopper([&] {
    mg_stop(context_);
    stopped.Notify();
  });
  do {
    Touch(wake_address_);
  } while (!stopped.WaitForNotificationWithTimeout(absl::Milliseconds(20)));
  stopper.join();
}

int CivetMetricsServer::OnLogMessage(const mg_connection* connection, const char* message) {
  const mg_context* context = mg_get_context(connection);
  auto* server = static_cast<CivetMetricsServer*>(context == nullptr ? nullptr : mg_get_user_data(context));
  if (server != nullptr) {
    absl::MutexLock lock(&server->mutex_);
    if (server->log_.size() < kMaxLogBytes) absl::StrAppend(&server->log_, server->log_.empty() ? "" : "; ", message);
  }
  return 1;  // Handled: civetweb writes nothing itself.
}

int CivetMetricsServer::OnRequest(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const auto* server = static_cast<CivetMetricsServer*>(request->user_data);
  const Response response = server->Answer(*request);
  const std::string header =
      absl::StrCat("HTTP/1.1 ", response.code, " ", ReasonPhrase(response.code),
                   "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
                   "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n",
                   response.code == 405 ? "Allow: GET, HEAD\r\n" : "", "\r\n");
  mg_write(connection, header.data(), header.size());
  if (absl::string_view(request->request_method) != "HEAD") {
    mg_write(connection, response.body.data(), response.body.size());
  }
  return response.code;
}

Response CivetMetricsServer::Answer(const mg_request_info& request) const {
  const absl::string_view method = request.request_method;
  const absl::string_view path = request.local_uri == nullptr ? "" : request.local_uri;
  const bool known = path == "/metrics" || path == "/healthz" || path == "/livez" || path == "/readyz";
  if (!known) return {.code = 404, .body = "not found; there are /metrics, /healthz, /livez, /readyz\n"};
  if (method != "GET" && method != "HEAD") return {.code = 405, .body = "only GET and HEAD are allowed\n"};
  // An exception out of a check or the serializer must not reach civetweb, which is C.
  try {
    if (path == "/metrics") return Metrics();
    if (path == "/readyz") return Readiness(HasParameter(request.query_string, "verbose"));
    return {.body = "ok\n"};
  } catch (const std::exception& error) {
    return {.code = 500, .body = absl::StrCat("internal error: ", error.what(), "\n")};
  }
}

Response CivetMetricsServer::Metrics() const {
  std::function<void()> prepare;
  {
    absl::MutexLock lock(&mutex_);  // Not held over the call.
    prepare = prepare_;
  }
  if (prepare) prepare();
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  std::vector<prometheus::MetricFamily> process = process_.Collect();
  families.insert(families.end(), std::make_move_iterator(process.begin()), std::make_move_iterator(process.end()));
  std::vector<prometheus::MetricFamily> failpoints = FailpointCollector().Collect();
  families.insert(families.end(), std::make_move_iterator(failpoints.begin()),
                  std::make_move_iterator(failpoints.end()));
  return {.body = prometheus::TextSerializer().Serialize(families), .content_type = kMetricsType};
}

Response CivetMetricsServer::Readiness(bool verbose) const {
  std::map<std::string, Check> checks;
  {
    absl::MutexLock lock(&mutex_);  // Not held over a check.
    checks = checks_;
  }
  Response response;
  for (const auto& [name, check] : checks) {
    const absl::Status status = check();
    if (!status.ok()) {
      response.code = 503;
      absl::StrAppend(&response.body, "[-]", name, " failed: ", status.ToString(), "\n");
    } else if (verbose) {
      absl::StrAppend(&response.body, "[+]", name, " ok\n");
    }
  }
  if (response.code != 200) {
    absl::StrAppend(&response.body, "not ready\n");
  } else {
    absl::StrAppend(&response.body, verbose ? "ready\n" : "ok\n");
  }
  return response;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const MetricsServerOptions& options,
                                                                    std::shared_ptr<prometheus::Registry> registry) {
  auto server = std::make_unique<CivetMetricsServer>(std::move(registry));
  RETURN_IF_ERROR(server->Listen(options.listen_address));
  return server;
}

}  // namespace paramd
