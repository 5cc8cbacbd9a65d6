// Sets up spdlog for a daemon; afterwards everybody calls spdlog::info(...) and its siblings.
//
//   RETURN_IF_ERROR(InitLogging("paramd-server", "info"));
//   spdlog::info("listening on port {}", port);
//
// One line per record on stderr, UTC; control characters inside a message are escaped, so that text from a peer can
// neither start a line of its own nor drive a terminal:
//   2026-01-31T12:00:00.123Z info paramd-server[4711] listening on port 7070
// Logging is thread safe and never throws; InitLogging is for main, before other threads run.
#ifndef PARAMD_COMMON_BASE_LOGGING_H_
#define PARAMD_COMMON_BASE_LOGGING_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "spdlog/spdlog.h"

namespace paramd {

// `level` is one of trace, debug, info, warning, error. kInvalidArgument, reason INVALID_LOG_LEVEL, for another one.
// May be called again: the last call counts.
absl::Status InitLogging(absl::string_view daemon, absl::string_view level);

// `message` with newlines, tabs and other control characters as escapes (\n, \t, \x1b).
std::string EscapeLogMessage(absl::string_view message);

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_LOGGING_H_
