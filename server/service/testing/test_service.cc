#include "server/service/testing/test_service.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace paramd {

namespace {

// Paths of unix sockets are short; the test's own directory may be too deep.
std::string NewSocketPath() {
  char path[] = "/tmp/paramd-test-XXXXXX";
  const int descriptor = mkstemp(path);
  if (descriptor >= 0) close(descriptor);
  unlink(path);
  return path;
}

}  // namespace

TestService::TestService(const ParameterServiceOptions& options, int threads)
    : metrics_(registry_, threads),
      threads_({.threads = threads}, clock_, metrics_,
               [this](int thread, absl::Time now) { return jobs_.Tick(thread, now); }),
      jobs_(int64_t{1} << 30, {.threads = threads_,
                               .metrics = metrics_,
                               .clock = clock_,
                               .channels = channels_,
                               .on_failed = [](const JobPlan&, const absl::Status&) {},
                               .on_progress = [](const JobPlan&, const v1::ServerProgress&) {}}),
      service_(options, clock_, metrics_, jobs_, threads_),
      socket_path_(NewSocketPath()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.AddListeningPort(unix_address(), grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(8 << 20);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  EXPECT_NE(server_, nullptr);
}

TestService::~TestService() {
  jobs_.ReleaseAll("the test is over");
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  threads_.Stop();
  unlink(socket_path_.c_str());
}

absl::StatusOr<int64_t> TestService::Prepare(const v1::JobAssignment& assignment) {
  absl::Notification done;
  absl::StatusOr<int64_t> result;
  jobs_.Prepare(assignment, 0, [&](absl::StatusOr<int64_t> memory) {
    result = memory;
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

std::string TestService::tcp_address() const { return absl::StrCat("127.0.0.1:", port_); }

}  // namespace paramd
