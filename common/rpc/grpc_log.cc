#include "common/rpc/grpc_log.h"

#include <cstdlib>
#include <cstring>

#include "grpc/support/log.h"
#include "spdlog/spdlog.h"

namespace paramd {
namespace {

void ToDaemonLog(gpr_log_func_args* args) {
  spdlog::level::level_enum level = spdlog::level::debug;
  if (args->severity == GPR_LOG_SEVERITY_INFO) level = spdlog::level::info;
  // Most of what gRPC calls an error is a peer's doing.
  if (args->severity == GPR_LOG_SEVERITY_ERROR) level = spdlog::level::warn;
  const char* const slash = strrchr(args->file, '/');
  spdlog::log(level, "gRPC: {} ({}:{})", args->message, slash == nullptr ? args->file : slash + 1, args->line);
}

void ToNowhere(gpr_log_func_args*) {}

}  // namespace

void RouteGrpcLog() { gpr_set_log_function(ToDaemonLog); }

void SilenceGrpcLog() {
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function(ToNowhere);
}

}  // namespace paramd
