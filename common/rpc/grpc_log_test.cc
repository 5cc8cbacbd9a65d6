#include "common/rpc/grpc_log.h"

#include <memory>
#include <sstream>

#include "gmock/gmock.h"
#include "grpc/grpc.h"
#include "grpc/support/log.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

namespace paramd {
namespace {

using testing::HasSubstr;

class GrpcLogTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc_init();  // Before it gRPC says nothing at all.
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
    logger->set_pattern("%l %v");
    spdlog::set_default_logger(logger);
  }
  void TearDown() override {
    grpc_shutdown();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("none"));
  }

  std::ostringstream text_;
};

TEST_F(GrpcLogTest, ErrorsAreWarningsOfTheDaemon) {
  RouteGrpcLog();
  gpr_log(GPR_ERROR, "handshake with %s failed", "somebody");
  EXPECT_THAT(text_.str(), HasSubstr("warning gRPC: handshake with somebody failed (grpc_log_test.cc:"));
}

TEST_F(GrpcLogTest, Silence) {
  RouteGrpcLog();
  SilenceGrpcLog();
  testing::internal::CaptureStderr();
  gpr_log(GPR_ERROR, "nobody hears this");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(text_.str(), "");
}

}  // namespace
}  // namespace paramd
