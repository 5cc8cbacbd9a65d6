// Commands to a fault proxy, one a line, for tests in other languages (tests/framework/processes.py).
//
//   target 127.0.0.1:PORT
//   rule up|down|both pass
//   rule up|down|both blackhole            bytes are lost; the direction stays dark until the connection ends
//   rule up|down|both stall                bytes wait for the next rule
//   rule up|down|both delay MS [JITTER_MS]
//   rule up|down|both throttle BYTES_PER_SECOND
//   rule up|down|both truncate BYTES       so many more bytes, then the connection is closed; once
//   rule up|down|both flip BYTE BIT        one bit of the BYTE-th byte from now on; once
//   drop                                   resets all connections
//   half_open server|client                closes all connections there without telling the other side
//   refuse on|off                          new connections are closed at once
//   counters
//
// `up` is from the client to the server. To lose only the answers: rule down blackhole.
#ifndef PARAMD_TESTS_FRAMEWORK_FAULT_COMMAND_H_
#define PARAMD_TESTS_FRAMEWORK_FAULT_COMMAND_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/framework/fault_proxy.h"

namespace paramd {

// The answer, without a line's end: "ok", a number, or the counters as a JSON object. kInvalidArgument (FAULT_COMMAND)
// says what is wrong with the line.
absl::StatusOr<std::string> RunFaultCommand(absl::string_view line, FaultProxy& proxy);

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_FAULT_COMMAND_H_
