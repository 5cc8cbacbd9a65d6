#include "server/service/norm_exchange.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

constexpr absl::Duration kTimeout = absl::Milliseconds(200);
// So many failed attempts take longer than that: pauses are 50 ms, 100 ms, 200 ms and 400 ms at least.
constexpr int kMoreThanTheTimeout = 4;

// A lead whose first answers are failures; then the total is 25.
class FakeLead final : public v1::ParameterService::Service {
 public:
  FakeLead(int failures, absl::Status failure) : failures_(failures), failure_(std::move(failure)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeLead() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status ReduceNorm(grpc::ServerContext*, const v1::ReduceNormRequest*,
                          v1::ReduceNormResponse* response) override {
    if (calls++ < failures_) return ToGrpcStatus(failure_);
    response->set_squared_norm(25);
    return grpc::Status::OK;
  }
  std::shared_ptr<grpc::Channel> channel() const { return CreateChannel(absl::StrCat("127.0.0.1:", port_), {}); }

  std::atomic<int> calls = 0;

 private:
  const int failures_;
  const absl::Status failure_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

absl::StatusOr<double> Exchange(const FakeLead& lead, std::function<Lease()> lease = nullptr) {
  NormExchange exchange({.lead = lead.channel(), .job_id = "job-1", .timeout = kTimeout, .lease = std::move(lease)});
  absl::StatusOr<double> result;
  absl::Notification done;
  exchange.Send(0, {}, [&](absl::StatusOr<double> total) {
    result = total;
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

absl::Status LeaseLost() { return MakeError(absl::StatusCode::kUnavailable, "LEASE_LOST", "no lease"); }

TEST(NormExchangeTest, BringsTheTotal) {
  FakeLead lead(0, absl::OkStatus());
  ASSERT_OK_AND_ASSIGN(const double total, Exchange(lead));
  EXPECT_EQ(total, 25);
}

TEST(NormExchangeTest, AnUnavailableLeadIsWaitedForUntilTheDeadline) {
  FakeLead lead(1000, absl::UnavailableError("overloaded"));
  EXPECT_THAT(Exchange(lead, [] { return Lease::kHeld; }), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_GT(lead.calls, 1);
}

TEST(NormExchangeTest, OtherFailuresAreFinal) {
  FakeLead lead(1000, absl::InternalError("broken"));
  EXPECT_THAT(Exchange(lead), StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(lead.calls, 1);
}

TEST(NormExchangeTest, ALeadWithoutALeaseIsWaitedForBeyondTheDeadline) {
  FakeLead lead(kMoreThanTheTimeout, LeaseLost());
  EXPECT_OK(Exchange(lead, [] { return Lease::kHeld; }));
  EXPECT_EQ(lead.calls, kMoreThanTheTimeout + 1);
}

TEST(NormExchangeTest, WithoutItsOwnLeaseNoFailureIsFinal) {
  FakeLead lead(kMoreThanTheTimeout, absl::NotFoundError("no such job"));
  EXPECT_OK(Exchange(lead, [] { return Lease::kLost; }));
  EXPECT_EQ(lead.calls, kMoreThanTheTimeout + 1);
}

TEST(NormExchangeTest, WhatWaitsForALeaseEndsWithTheExchange) {
  FakeLead lead(1000, LeaseLost());
  auto exchange = std::make_optional<NormExchange>(
      NormExchangeOptions{.lead = lead.channel(), .job_id = "job-1", .timeout = kTimeout});
  absl::Notification done;
  exchange->Send(0, {}, [&](const absl::StatusOr<double>& total) {
    EXPECT_FALSE(total.ok());
    done.Notify();
  });
  while (lead.calls < 2) absl::SleepFor(absl::Milliseconds(1));
  exchange.reset();
  done.WaitForNotification();
}

}  // namespace
}  // namespace paramd
