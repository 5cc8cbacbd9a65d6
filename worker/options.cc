#include "worker/options.h"

#include "common/base/status_macros.h"
#include "common/config/flag_checks.h"

namespace paramd {

absl::Status WorkerOptions::Validate() const {
  RETURN_IF_ERROR(CheckDaemonOptions(*this));
  RETURN_IF_ERROR(CheckCoordinatorFlag("--coordinator", coordinator));
  RETURN_IF_ERROR(CheckRangeFlag("--threads", threads, 1, 1024));
  RETURN_IF_ERROR(CheckRangeFlag("--job-capacity", job_capacity, 1, 64));
  return CheckRangeFlag("--streams-per-server", data_plane.streams_per_server, 1, kMaxStreamsPerServer);
}

}  // namespace paramd
