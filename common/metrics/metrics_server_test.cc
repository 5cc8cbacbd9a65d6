#include "common/metrics/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/scoped_failpoints.h"
#include "gtest/gtest.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"

namespace paramd {
namespace {

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = MetricsServer::Start({.listen_address = "127.0.0.1:0"}, registry_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(server).value();
    ASSERT_GT(server_->port(), 0);
  }

  // The whole answer to one request, header included, over a connection of its own.
  std::string Request(const std::string& method, const std::string& path) {
    const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::string answer;
    if (connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
      const std::string request = absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
      EXPECT_EQ(write(descriptor, request.data(), request.size()), static_cast<ssize_t>(request.size()));
      char buffer[4096];
      ssize_t count;
      while ((count = read(descriptor, buffer, sizeof(buffer))) > 0) answer.append(buffer, count);
    }
    close(descriptor);
    return answer;
  }

  static std::string Body(const std::string& answer) {
    const size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? "" : answer.substr(end + 4);
  }

  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, ServesTheRegistryAndTheProcess) {
  prometheus::BuildCounter()
      .Name("paramd_test_events_total")
      .Help("Events.")
      .Register(*registry_)
      .Add({{"train_job", "j"}})
      .Increment(3);
  const std::string answer = Request("GET", "/metrics");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  for (const char* want :
       {"paramd_test_events_total{train_job=\"j\"} 3", "paramd_build_info{", "version=\"0.1.0\"",
        "\nprocess_cpu_seconds_total ", "\nprocess_resident_memory_bytes ", "\nprocess_virtual_memory_bytes ",
        "\nprocess_open_fds ", "\nprocess_max_fds ", "\nprocess_start_time_seconds ", "\nprocess_threads "}) {
    EXPECT_TRUE(absl::StrContains(answer, want)) << want << " not in\n" << answer;
  }
}

TEST_F(MetricsServerTest, CountsFailpointsThatAreArmed) {
  EXPECT_FALSE(absl::StrContains(Request("GET", "/metrics"), "paramd_failpoint"));
  const ScopedFailpoints armed("store.commit=fail(ABORTED)@hit=2");
  for (int i = 0; i < 3; ++i) (void)HitFailpoint(Failpoint::kStoreCommit);
  const std::string answer = Request("GET", "/metrics");
  EXPECT_TRUE(absl::StrContains(answer, "\nparamd_failpoint_hits_total{name=\"store.commit\"} 3\n")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "\nparamd_failpoint_fired_total{name=\"store.commit\"} 1\n")) << answer;
}

TEST_F(MetricsServerTest, PassesPromtool) {
  if (std::system("command -v promtool >/dev/null") != 0) {
    GTEST_SKIP() << "promtool is not installed (Debian package: prometheus)";
  }
  prometheus::BuildHistogram()
      .Name("paramd_test_duration_seconds")
      .Help("Durations.")
      .Register(*registry_)
      .Add({}, prometheus::Histogram::BucketBoundaries{0.1, 1})
      .Observe(0.5);
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/metrics.txt");
  std::ofstream(path) << Body(Request("GET", "/metrics"));
  EXPECT_EQ(std::system(absl::StrCat("promtool check metrics < ", path, " 1>&2").c_str()), 0);
}

TEST_F(MetricsServerTest, HealthEndpoints) {
  EXPECT_EQ(Body(Request("GET", "/healthz")), "ok\n");
  EXPECT_EQ(Body(Request("GET", "/livez")), "ok\n");
  EXPECT_EQ(Body(Request("GET", "/readyz")), "ok\n");
}

TEST_F(MetricsServerTest, ReadinessFollowsItsChecks) {
  std::atomic<bool> connected = false;
  server_->AddReadinessCheck("coordinator",
                             [&] { return connected ? absl::OkStatus() : absl::UnavailableError("no lease"); });
  server_->AddReadinessCheck("disk", [] { return absl::OkStatus(); });
  const std::string failing = Request("GET", "/readyz");
  EXPECT_TRUE(absl::StartsWith(failing, "HTTP/1.1 503 Service Unavailable\r\n")) << failing;
  EXPECT_EQ(Body(failing), "[-]coordinator failed: UNAVAILABLE: no lease\nnot ready\n");
  EXPECT_EQ(Body(Request("GET", "/readyz?verbose")),
            "[-]coordinator failed: UNAVAILABLE: no lease\n[+]disk ok\nnot ready\n");
  EXPECT_TRUE(absl::StartsWith(Request("GET", "/healthz"), "HTTP/1.1 200")) << "liveness depends on nothing";
  connected = true;
  EXPECT_EQ(Body(Request("GET", "/readyz")), "ok\n");
  EXPECT_EQ(Body(Request("GET", "/readyz?x=1&verbose=true")), "[+]coordinator ok\n[+]disk ok\nready\n");
}

TEST_F(MetricsServerTest, ThrowingCheckIsAnInternalError) {
  server_->AddReadinessCheck("bad", []() -> absl::Status { throw std::runtime_error("boom"); });
  const std::string answer = Request("GET", "/readyz");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 500")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "boom"));
}

TEST_F(MetricsServerTest, HeadHasNoBody) {
  const std::string answer = Request("HEAD", "/metrics");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "Content-Length: "));
  EXPECT_EQ(Body(answer), "");
}

TEST_F(MetricsServerTest, RefusesOtherPathsAndMethods) {
  for (const char* path : {"/", "/metrics/", "/metrics2", "/../etc/passwd", "/readyz/x", "/debug"}) {
    EXPECT_TRUE(absl::StartsWith(Request("GET", path), "HTTP/1.1 404 Not Found\r\n")) << path;
  }
  const std::string answer = Request("DELETE", "/metrics");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 405 Method Not Allowed\r\n")) << answer;
  EXPECT_TRUE(absl::StrContains(answer, "Allow: GET, HEAD\r\n"));
}

TEST_F(MetricsServerTest, PortInUseAndBadAddresses) {
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  const absl::Status in_use = MetricsServer::Start({.listen_address = address}, registry_).status();
  EXPECT_EQ(in_use.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(in_use), "ADDRESS_IN_USE") << in_use;
  EXPECT_TRUE(absl::StrContains(in_use.message(), address)) << in_use;
  EXPECT_EQ(ErrorReason(MetricsServer::Start({.listen_address = "192.0.2.1:0"}, registry_).status()), "LISTEN_FAILED");
  EXPECT_EQ(ErrorReason(MetricsServer::Start({.listen_address = "7070"}, registry_).status()), "INVALID_ADDRESS");
  EXPECT_EQ(ErrorReason(MetricsServer::Start({.listen_address = "host.invalid:0"}, registry_).status()),
            "LISTEN_FAILED");
}

TEST_F(MetricsServerTest, ListensByName) {
  auto server = MetricsServer::Start({.listen_address = "localhost:0"}, registry_);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT((*server)->port(), 0);
}

}  // namespace
}  // namespace paramd
